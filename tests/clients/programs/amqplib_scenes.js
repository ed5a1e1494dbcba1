// What programs of Node.js do with a broker, each scene through two nodes of the cluster.
//
// Law: a scene checks what it sees by itself and cleans up; the program ends with 0 when the scene held, and
// otherwise with 1 and the reason. Nothing is waited for by time: who started this program ends one that hangs.
//
//   node amqplib_scenes.js SCENE URL_OF_ONE_NODE URL_OF_ANOTHER NAME
//
// Errors of the library's own channels come as events too; one that nobody expects ends the program.
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const amqp = require('amqplib');

/** Deliveries of one consumer, taken one after the other. */
class Inbox {
  constructor() {
    this.arrived = [];
    this.waiting = [];
    this.take = (message) => {
      const next = this.waiting.shift();
      if (next) next(message);
      else this.arrived.push(message);
    };
  }

  next() {
    if (this.arrived.length) return Promise.resolve(this.arrived.shift());
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  async some(count) {
    const messages = [];
    while (messages.length < count) messages.push(await this.next());
    return messages;
  }
}

const numbers = (messages) => messages.map((message) => Number(message.content));
const range = (first, end) => Array.from({ length: end - first }, (_, n) => first + n);

/** Promise of the error that a channel ends with. */
const failure = async (channel) => (await once(channel, 'error'))[0];

/** The promised refusal, as the library shows it: its code in the error, code and text in the message. */
async function refused(channel, code, text, act) {
  const event = failure(channel);
  // `once` would see the error first and refuse.
  const closed = new Promise((resolve) => channel.once('close', resolve));
  await assert.rejects(act, (error) => error.code === code && error.message.includes(`"${text}"`));
  assert.equal((await event).code, code);
  await closed;
}

async function publishNumbers(channel, queue, first, end) {
  for (const n of range(first, end)) channel.sendToQueue(queue, Buffer.from(String(n)), { persistent: true });
  await channel.waitForConfirms();
}

const scenes = {
  async publishAndConsume(here, there, name) {
    const publishing = await here.createConfirmChannel();
    await publishing.assertQueue(name, { durable: true });
    await publishing.assertExchange(`${name}-x`, 'topic', { durable: true });
    await publishing.bindQueue(name, `${name}-x`, 'stock.*.nyse');
    const sent = range(0, 50).map((n) => new Promise((resolve, reject) => {
      const properties = {
        persistent: true, messageId: `m${n}`, type: 't', appId: 'amqplib', correlationId: 'c', replyTo: 'r',
        contentType: 'text/plain', contentEncoding: 'utf-8', priority: 3, timestamp: 1700000000, expiration: 60000,
        headers: { n, pi: 3.5, yes: true, text: 'é', list: [1, 'two', { three: 3 }], nothing: null, big: 2 ** 40 },
      };
      publishing.publish(`${name}-x`, 'stock.ibm.nyse', Buffer.from(String(n)), properties, (error) => {
        if (error) reject(error);
        else resolve();
      });
    }));
    await Promise.all(sent);

    const consuming = await there.createChannel();
    await consuming.prefetch(7);
    const inbox = new Inbox();
    const { consumerTag } = await consuming.consume(name, inbox.take);
    const first = await inbox.some(7);
    assert.deepEqual(numbers(first), range(0, 7));
    // Answered after anything that would have been delivered beyond the prefetch count.
    await consuming.checkQueue(name);
    assert.equal(inbox.arrived.length, 0);
    consuming.ack(first[6], true);
    const rest = [];
    while (rest.length < 43) {
      const message = await inbox.next();
      rest.push(message);
      consuming.ack(message);
    }
    assert.deepEqual(numbers(rest), range(7, 50));
    const { fields, properties } = rest[0];
    assert.deepEqual([fields.exchange, fields.routingKey, fields.redelivered], [`${name}-x`, 'stock.ibm.nyse', false]);
    assert.deepEqual(
      [properties.messageId, properties.type, properties.appId, properties.correlationId, properties.replyTo],
      ['m7', 't', 'amqplib', 'c', 'r'],
    );
    assert.deepEqual(
      [properties.contentType, properties.priority, properties.timestamp, properties.expiration, properties.deliveryMode],
      ['text/plain', 3, 1700000000, '60000', 2],
    );
    assert.deepEqual({ ...properties.headers }, {
      n: 7, pi: 3.5, yes: true, text: 'é', list: [1, 'two', { three: 3 }], nothing: null, big: 2 ** 40,
    });
    assert.equal((await consuming.cancel(consumerTag)).consumerTag, consumerTag);
    assert.equal((await consuming.deleteQueue(name, { ifEmpty: true, ifUnused: true })).messageCount, 0);
    await consuming.deleteExchange(`${name}-x`);
  },

  async getNackAndReject(here, there, name) {
    const publishing = await here.createConfirmChannel();
    await publishing.assertQueue(`${name}-dead`, { durable: true });
    const options = { durable: true, deadLetterExchange: '', deadLetterRoutingKey: `${name}-dead` };
    await publishing.assertQueue(name, options);
    await publishNumbers(publishing, name, 0, 4);

    const channel = await there.createChannel();
    const got = await channel.get(name);
    assert.deepEqual([Number(got.content), got.fields.redelivered, got.fields.messageCount], [0, false, 3]);
    channel.nack(got, false, true);
    const again = await channel.get(name);
    assert.deepEqual([Number(again.content), again.fields.redelivered], [0, true]);
    channel.reject(again, true);
    const inbox = new Inbox();
    const { consumerTag } = await channel.consume(name, inbox.take);
    const held = await inbox.some(4);
    assert.deepEqual(numbers(held), range(0, 4));
    assert.deepEqual(held.map((message) => message.fields.redelivered), [true, false, false, false]);
    await channel.cancel(consumerTag);
    channel.reject(held[0], false);
    channel.nack(held[1], false, false);
    channel.nackAll(true);
    await channel.recover();
    const returned = [await channel.get(name), await channel.get(name)];
    assert.deepEqual(numbers(returned), [2, 3]);
    assert.deepEqual(returned.map((message) => message.fields.redelivered), [true, true]);
    channel.ackAll();
    assert.equal(await channel.get(name), false);
    const dead = new Inbox();
    await channel.consume(`${name}-dead`, dead.take, { noAck: true });
    const buried = await dead.some(2);
    assert.deepEqual(numbers(buried).sort(), [0, 1]);
    assert.deepEqual([buried[0].properties.headers['x-death'][0].reason, buried[0].properties.headers['x-first-death-queue']],
      ['rejected', name]);
    await channel.deleteQueue(name);
    await channel.deleteQueue(`${name}-dead`);
  },

  async temporaryQueues(here, there, name) {
    const owning = await here.createChannel();
    const { queue } = await owning.assertQueue('', { exclusive: true });
    assert.match(queue, /^amq\.gen-[A-Za-z0-9_-]{22}$/);
    const publishing = await there.createConfirmChannel();
    await owning.assertExchange(name, 'fanout', { durable: false, autoDelete: true });
    await owning.bindQueue(queue, name, '');
    const inbox = new Inbox();
    await owning.consume(queue, inbox.take, { noAck: true, exclusive: true });
    publishing.publish(name, 'any', Buffer.from('1'));
    await publishing.waitForConfirms();
    assert.equal(Number((await inbox.next()).content), 1);
    const foreign = await there.createChannel();
    const locked = `RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${queue}' in vhost '/'. ` +
      'It could be originally declared on another connection or the exclusive property value does not match that ' +
      'of the original declaration.';
    await refused(foreign, 405, locked, () => foreign.checkQueue(queue));

    await publishing.assertQueue(`${name}-auto`, { durable: false, autoDelete: true });
    const channel = await here.createChannel();
    const { consumerTag } = await channel.consume(`${name}-auto`, inbox.take);
    await channel.cancel(consumerTag);
    const late = await there.createChannel();
    await refused(late, 404, `NOT_FOUND - no queue '${name}-auto' in vhost '/'`, () => late.checkQueue(`${name}-auto`));
    await owning.unbindQueue(queue, name, '');
    const gone = await there.createChannel();
    await refused(gone, 404, `NOT_FOUND - no exchange '${name}' in vhost '/'`, () => gone.checkExchange(name));
  },

  async exchangeToExchange(here, there, name) {
    const building = await here.createChannel();
    await building.assertExchange(`${name}-source`, 'headers', { durable: true });
    await building.assertExchange(`${name}-target`, 'direct', { durable: true });
    await building.bindExchange(`${name}-target`, `${name}-source`, '', { 'x-match': 'all', kind: 'report' });
    await building.assertQueue(name, { durable: true });
    await building.bindQueue(name, `${name}-target`, 'key');
    const publishing = await there.createConfirmChannel();
    publishing.publish(`${name}-source`, 'key', Buffer.from('1'), { headers: { kind: 'report', more: 1 } });
    publishing.publish(`${name}-source`, 'key', Buffer.from('2'), { headers: { kind: 'letter' } });
    publishing.publish(`${name}-source`, 'other', Buffer.from('3'), { headers: { kind: 'report' } });
    await publishing.waitForConfirms();
    assert.equal((await building.checkQueue(name)).messageCount, 1);
    assert.equal(Number((await building.get(name, { noAck: true })).content), 1);
    await building.unbindExchange(`${name}-target`, `${name}-source`, '', { 'x-match': 'all', kind: 'report' });
    publishing.publish(`${name}-source`, 'key', Buffer.from('4'), { headers: { kind: 'report' } });
    await publishing.waitForConfirms();
    assert.equal((await building.purgeQueue(name)).messageCount, 0);
    await building.deleteQueue(name);
    await building.deleteExchange(`${name}-source`);
    await building.deleteExchange(`${name}-target`, { ifUnused: true });
  },

  async returnsAndRefusals(here, there, name) {
    const publishing = await here.createConfirmChannel();
    const returned = once(publishing, 'return');
    publishing.publish('amq.direct', name, Buffer.from('lost'), { mandatory: true, messageId: 'm' });
    await publishing.waitForConfirms();
    const [message] = await returned;
    assert.deepEqual(
      [message.fields.replyCode, message.fields.replyText, message.fields.exchange, message.fields.routingKey],
      [312, 'NO_ROUTE', 'amq.direct', name],
    );
    assert.deepEqual([String(message.content), message.properties.messageId], ['lost', 'm']);

    const missing = await there.createChannel();
    await refused(missing, 404, `NOT_FOUND - no queue '${name}' in vhost '/'`, () => missing.consume(name, () => {}));
    const declaring = await there.createChannel();
    await declaring.assertQueue(name, { durable: true, messageTtl: 60000 });
    const unequal = `PRECONDITION_FAILED - inequivalent arg 'durable' for queue '${name}' in vhost '/': ` +
      "received 'false' but current is 'true'";
    const other = await here.createChannel();
    await refused(other, 406, unequal, () => other.assertQueue(name, { durable: false, messageTtl: 60000 }));

    const nowhere = await here.createConfirmChannel();
    const event = failure(nowhere);
    nowhere.publish(`${name}-x`, '', Buffer.from('1'));
    await assert.rejects(() => nowhere.waitForConfirms());
    assert.match((await event).message, new RegExp(`404 \\(NOT-FOUND\\).*"NOT_FOUND - no exchange '${name}-x' in vhost '/'"`));

    const acking = await there.createChannel();
    const unknown = failure(acking);
    acking.ack({ fields: { deliveryTag: 99 } });
    assert.match((await unknown).message, /406 \(PRECONDITION-FAILED\).*"PRECONDITION_FAILED - unknown delivery tag 99"/);

    const cancelled = new Inbox();
    const consuming = await there.createChannel();
    await consuming.consume(name, cancelled.take);
    await declaring.deleteQueue(name);
    assert.equal(await cancelled.next(), null, 'a consumer learns that its queue was deleted');
  },

  async callsProcedures(here, there, name) {
    const serving = await here.createChannel();
    await serving.assertQueue(name, { durable: true });
    await serving.consume(name, (message) => {
      if (message === null) return; // the queue was deleted
      const { replyTo, correlationId } = message.properties;
      serving.sendToQueue(replyTo, Buffer.from(String(Number(message.content) ** 2)), { correlationId });
      serving.ack(message);
    });
    const calling = await there.createChannel();
    const answers = new Inbox();
    await calling.consume('amq.rabbitmq.reply-to', answers.take, { noAck: true });
    for (const n of range(0, 20)) {
      const properties = { replyTo: 'amq.rabbitmq.reply-to', correlationId: String(n) };
      calling.sendToQueue(name, Buffer.from(String(n)), properties);
    }
    const replies = await answers.some(20);
    assert.deepEqual(replies.map((reply) => Number(reply.properties.correlationId)), range(0, 20));
    assert.deepEqual(numbers(replies), range(0, 20).map((n) => n ** 2));
    await calling.deleteQueue(name);
  },
};

/** Against a node that is killed and comes back: says what it sees, one word a line, and does what it is told. */
async function recover(url, name) {
  const inbox = new Inbox();
  const say = (line) => process.stdout.write(`${line}\n`);
  const setup = async (connection) => {
    const channel = await connection.createChannel();
    await channel.assertQueue(name, { durable: true });
    await channel.prefetch(10);
    await channel.consume(name, (message) => {
      say(`got ${message.content} ${message.fields.redelivered}`);
      channel.ack(message);
      if (String(message.content) === 'last') inbox.take(message);
    });
    say('ready');
  };
  const connection = await amqp.connect(url, { recovery: { setup, initialDelay: 50, maxDelay: 500 } });
  connection.on('error', () => {});
  connection.on('disconnect', () => say('disconnected'));
  await inbox.next();
  await connection.close();
}

async function main([scene, here, there, name]) {
  if (scene === 'recover') return recover(here, there);
  const connections = [await amqp.connect(here), await amqp.connect(there)];
  await scenes[scene](...connections, name);
  for (const connection of connections) await connection.close();
  return undefined;
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
