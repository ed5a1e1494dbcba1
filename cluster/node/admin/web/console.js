// The console: asks /api every few seconds for the tab that is open, and shows the answer as tables.
//
// Law: text from outside becomes text, never markup. One question at a time; what comes too late is dropped. Credentials
// live in this tab's session storage and go nowhere but to /api of the node that served the page.

const REFRESH_MS = 3000;
const PAGE_SIZE = 50;
const $ = (id) => document.getElementById(id);

const state = { tab: "Overview", page: 1, name: "", sort: "messages", turn: 0 };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child ?? ""))));
  return element;
}

const whole = (value) => (value ?? 0).toLocaleString("en");
const perSecond = (value) => `${(value ?? 0).toLocaleString("en", { maximumFractionDigits: 1 })}/s`;
function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let rank = 0;
  for (value ??= 0; value >= 1024 && rank < units.length - 1; rank++) value /= 1024;
  return `${value.toFixed(rank && value < 10 ? 1 : 0)} ${units[rank]}`;
}
function duration(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days}d ${hours}h`;
  return hours ? `${hours}h ${minutes}m` : minutes ? `${minutes}m` : `${Math.floor(seconds)}s`;
}

class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

async function ask(path) {
  const answer = await fetch(`/api/${path}`, { headers: { Authorization: `Basic ${sessionStorage.getItem("login")}` } });
  const body = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, body.reason ?? answer.statusText);
  return body;
}

// columns: [title, row => text or node, "number" for figures, "state" for a word with a colour]
function table(rows, columns, none) {
  if (!rows.length) return make("p", {}, none);
  const head = columns.map(([title, , kind]) => make("th", { class: kind === "number" ? "number" : undefined }, title));
  const body = rows.map((row) =>
    make("tr", {}, ...columns.map(([, read, kind]) => {
      const value = read(row);
      const name = kind === "number" ? "number" : kind === "state" ? String(value).replace(/[^a-z]+/gi, "-") : undefined;
      return make("td", { class: name }, value);
    })),
  );
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
}

function figures(pairs) {
  return make("div", { class: "numbers" }, ...pairs.map(([name, value]) => make("div", {}, make("b", {}, value), name)));
}

async function overview() {
  const seen = await ask("overview");
  const { message_stats: flow, queue_totals: depth, object_totals: objects } = seen;
  const parts = [
    figures([
      ["ready", whole(depth.messages_ready)],
      ["unacked", whole(depth.messages_unacknowledged)],
      ["published", perSecond(flow.publish_details.rate)],
      ["confirmed", perSecond(flow.confirm_details.rate)],
      ["delivered", perSecond(flow.deliver_get_details.rate)],
      ["acknowledged", perSecond(flow.ack_details.rate)],
    ]),
    figures(Object.entries(objects).map(([name, count]) => [name, whole(count)])),
  ];
  try {
    parts.unshift(...nodesAndProblems(await ask("cluster/status")));
  } catch (error) {
    if (error.status !== 403) throw error; // nodes are for those who monitor
    $("cluster").textContent = seen.cluster_name;
  }
  return parts;
}

function nodesAndProblems(status) {
  $("cluster").textContent = status.cluster.name;
  const { health, nodes_up: up, nodes, can_lose: spare, problems } = status.verdict;
  const margin = spare > 0 ? `can lose ${spare} more` : "cannot lose another node";
  $("verdict").textContent = `${health.toUpperCase()}  ${up}/${nodes} nodes up, ${margin}`;
  $("verdict").className = health.replace(/[^a-z]+/gi, "-");
  const parts = problems.length ? [make("h2", {}, "Problems"), make("ul", {}, ...problems.map((line) => make("li", {}, line)))] : [];
  const columns = [
    ["Node", (n) => n.name],
    ["State", (n) => (n.up ? n.state : "unreachable"), "state"],
    ["Role", (n) => n.role ?? ""],
    ["Leads", (n) => (n.up ? whole(n.leads) : ""), "number"],
    ["Lag", (n) => (n.up ? whole(n.lag) : ""), "number"],
    ["Connections", (n) => (n.up ? whole(n.connections) : ""), "number"],
    ["Memory", (n) => (n.up ? `${bytes(n.rss_bytes)} of ${bytes(n.memory_watermark_bytes)}` : "")],
    ["Disk", (n) => (n.up ? `${bytes(n.disk_used_bytes)}, ${bytes(n.disk_free_bytes)} free` : "")],
    ["fsync p99", (n) => (n.up ? `${n.fsync_p99_ms} ms` : ""), "number"],
    ["Up", (n) => (n.up ? duration(n.uptime_seconds) : n.reason), "number"],
    ["Alarms", (n) => (n.alarms ?? []).join(", ")],
  ];
  return [...parts, make("h2", {}, "Nodes"), table(status.nodes, columns, "no nodes")];
}

function pager(found, redraw) {
  const turn = (by) => () => { state.page += by; redraw(); };
  return make("div", { class: "pages" },
    make("button", { type: "button", onclick: turn(-1), disabled: found.page <= 1 && "" }, "Back"),
    `page ${found.page} of ${Math.max(1, found.page_count)}, ${whole(found.filtered_count)} in all`,
    make("button", { type: "button", onclick: turn(1), disabled: found.page >= found.page_count && "" }, "Next"));
}

function filter(redraw) {
  const input = make("input", { placeholder: "name contains…", "aria-label": "name contains", value: state.name });
  input.id = "filter";
  input.addEventListener("input", () => { state.name = input.value; state.page = 1; redraw(); });
  return input;
}

function paged(path, columns, none) {
  return async () => {
    const query = new URLSearchParams({ page: state.page, page_size: PAGE_SIZE, name: state.name });
    if (path === "queues") { query.set("sort", state.sort); query.set("sort_reverse", "true"); }
    let found;
    try {
      found = await ask(`${path}?${query}`);
    } catch (error) {
      if (error.status !== 400 || state.page === 1) throw error;
      state.page = 1; // the list has become shorter
      return paged(path, columns, none)();
    }
    return [filter(show), pager(found, show), table(found.items, columns, none)];
  };
}

const TABS = {
  Overview: overview,
  Queues: paged("queues", [
    ["Vhost", (q) => q.vhost],
    ["Name", (q) => q.name],
    ["State", (q) => q.state, "state"],
    ["Leader", (q) => q.leader],
    ["Replicas", (q) => q.members.length || "not replicated"],
    ["Ready", (q) => whole(q.messages_ready), "number"],
    ["Unacked", (q) => whole(q.messages_unacknowledged), "number"],
    ["Parked", (q) => whole(q.messages_parked), "number"],
    ["Leaving", (q) => whole(q.messages_leaving), "number"],
    ["In", (q) => perSecond(q.message_stats?.publish_details.rate), "number"],
    ["Out", (q) => perSecond(q.message_stats?.deliver_get_details.rate), "number"],
    ["Consumers", (q) => whole(q.consumers), "number"],
    ["Policy", (q) => q.policy ?? ""],
  ], "no queues"),
  Connections: paged("connections", [
    ["Name", (c) => c.user_provided_name ?? c.name],
    ["From", (c) => `${c.peer_host}:${c.peer_port}`],
    ["Node", (c) => c.node],
    ["User", (c) => c.user],
    ["Vhost", (c) => c.vhost],
    ["State", (c) => c.state, "state"],
    ["Client", (c) => c.client],
    ["TLS", (c) => c.ssl_protocol || "no"],
    ["Channels", (c) => whole(c.channels), "number"],
  ], "no connections"),
  Exchanges: paged("exchanges", [
    ["Vhost", (e) => e.vhost],
    ["Name", (e) => e.name || "(default)"],
    ["Type", (e) => e.type],
    ["Durable", (e) => (e.durable ? "yes" : "no")],
  ], "no exchanges"),
};

function frame(logged) {
  $("login").hidden = logged;
  $("leave").hidden = $("tabs").hidden = !logged;
  $("tabs").replaceChildren(...Object.keys(TABS).map((name) =>
    make("button", {
      type: "button",
      "aria-current": name === state.tab ? "page" : undefined,
      onclick: () => { Object.assign(state, { tab: name, page: 1, name: "" }); show(); },
    }, name)));
}

function leave(why = "") {
  sessionStorage.removeItem("login");
  $("view").replaceChildren();
  $("verdict").textContent = "";
  $("message").textContent = why;
  frame(false);
}

async function show() {
  const turn = ++state.turn;
  if (!sessionStorage.getItem("login")) return leave();
  frame(true);
  try {
    const parts = await TABS[state.tab]();
    if (turn !== state.turn) return;
    const typing = document.activeElement?.id === "filter" ? document.activeElement.selectionStart : null;
    $("view").replaceChildren(...parts);
    $("message").textContent = "";
    if (typing !== null) {
      $("filter")?.focus();
      $("filter")?.setSelectionRange(typing, typing);
    }
  } catch (error) {
    if (turn !== state.turn) return;
    if (error.status === 401) return leave("User or password is wrong.");
    $("message").textContent = error.status ? error.message : "The node does not answer; trying again.";
  }
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const octets = new TextEncoder().encode(`${$("user").value}:${$("password").value}`);
  sessionStorage.setItem("login", btoa(String.fromCharCode(...octets)));
  $("password").value = "";
  show();
});
$("leave").addEventListener("click", () => leave());
setInterval(() => { if (!document.hidden) show(); }, REFRESH_MS);
show();
