# What programs of Ruby do with a broker through bunny, each scene through two nodes of the cluster.
#
# Law: a scene checks what it sees by itself and cleans up; the program ends with 0 when the scene held, and
# otherwise with 1 and the reason. A wait takes from a queue; who started this program ends one that hangs.
#
#   ruby bunny_scenes.rb SCENE URL_OF_ONE_NODE URL_OF_ANOTHER NAME

require 'bunny'

def check(expected, found)
  raise "expected #{expected.inspect}, found #{found.inspect}" unless expected == found
end

# The refusal, as the library shows it: its own class for the code, the whole text, a channel that is closed.
def refused(channel, kind, text)
  yield
rescue Bunny::Exception => error
  raise error unless error.is_a?(kind)

  check(text, error.message)
  check(true, channel.closed?)
else
  raise "not refused: #{text}"
end

def publish_numbers(channel, queue, numbers)
  numbers.each { |n| channel.default_exchange.publish(n.to_s, routing_key: queue, persistent: true) }
  check(true, channel.wait_for_confirms)
end

# Deliveries go into a thread-safe queue as [delivery_info, properties, body].
def subscribe(queue, **options)
  inbox = Thread::Queue.new
  consumer = queue.subscribe(**options) { |*delivery| inbox << delivery }
  [inbox, consumer]
end

def publish_and_consume(here, there, name)
  publishing = here.create_channel
  publishing.confirm_select
  queue = publishing.queue(name, durable: true)
  exchange = publishing.topic("#{name}-x", durable: true)
  queue.bind(exchange, routing_key: 'stock.#')
  headers = { 'n' => 1, 'pi' => 3.5, 'yes' => true, 'text' => 'e', 'list' => [1, 'two'], 'table' => { 'a' => 'b' } }
  at = 1_700_000_000
  40.times do |n|
    exchange.publish(n.to_s, routing_key: 'stock.ibm', persistent: true, headers: headers, message_id: "m#{n}",
                             content_type: 'text/plain', priority: 3, timestamp: at, type: 't', app_id: 'bunny',
                             expiration: '60000', correlation_id: 'c', reply_to: 'r')
  end
  check(true, publishing.wait_for_confirms)
  check([], publishing.unconfirmed_set.to_a)

  consuming = there.create_channel
  consuming.prefetch(6)
  inbox, consumer = subscribe(consuming.queue(name, durable: true), manual_ack: true)
  first = Array.new(6) { inbox.pop }
  check((0...6).to_a, first.map { |_, _, body| body.to_i })
  # Answered after anything that would have been delivered beyond the prefetch count.
  consuming.queue(name, durable: true).status
  check(0, inbox.size)
  consuming.ack(first.last[0].delivery_tag, true)
  rest = Array.new(34) do
    delivery = inbox.pop
    consuming.ack(delivery[0].delivery_tag)
    delivery
  end
  check((6...40).to_a, rest.map { |_, _, body| body.to_i })
  info, properties, = rest.first
  check(["#{name}-x", 'stock.ibm', false], [info.exchange, info.routing_key, info.redelivered?])
  check(headers, properties.headers)
  check(['m6', 'text/plain', 3, at, 't', 'bunny', '60000', 'c', 'r', 2],
        [properties.message_id, properties.content_type, properties.priority, properties.timestamp.to_i, properties.type,
         properties.app_id, properties.expiration, properties.correlation_id, properties.reply_to,
         properties.delivery_mode])
  consumer.cancel
  check(0, consuming.queue_delete(name, if_empty: true, if_unused: true).message_count)
  consuming.exchange_delete("#{name}-x")
end

def get_nack_and_reject(here, there, name)
  publishing = here.create_channel
  publishing.confirm_select
  dead = publishing.queue("#{name}-dead", durable: true)
  arguments = { 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => "#{name}-dead" }
  publishing.queue(name, durable: true, arguments: arguments)
  publish_numbers(publishing, name, 0...3)

  channel = there.create_channel
  info, _, body = channel.basic_get(name, manual_ack: true)
  check(['0', false, 2], [body, info.redelivered, info.message_count])
  channel.nack(info.delivery_tag, false, true)
  info, _, body = channel.basic_get(name, manual_ack: true)
  check(['0', true], [body, info.redelivered])
  channel.reject(info.delivery_tag, true)
  info, = channel.basic_get(name, manual_ack: true)
  channel.reject(info.delivery_tag, false)
  _, _, body = channel.basic_get(name, manual_ack: true)
  check('1', body)
  channel.basic_recover(true)
  info, _, body = channel.basic_get(name, manual_ack: true)
  check(['1', true], [body, info.redelivered])
  channel.ack(info.delivery_tag)
  _, _, body = channel.basic_get(name, manual_ack: false)
  check('2', body)
  check([nil, nil, nil], channel.basic_get(name, manual_ack: true))
  inbox, = subscribe(dead, manual_ack: false)
  _, properties, body = inbox.pop
  check(['0', 'rejected', name], [body, *properties.headers['x-death'][0].values_at('reason', 'queue')])
  channel.queue_delete(name)
  channel.queue_delete("#{name}-dead")
end

def temporary_queues(here, there, name)
  owning = here.create_channel
  queue = owning.queue('', exclusive: true)
  check(true, queue.name.match?(/\Aamq\.gen-[A-Za-z0-9_-]{22}\z/))
  fanout = owning.fanout(name, auto_delete: true)
  queue.bind(fanout)
  inbox, = subscribe(queue, exclusive: true)
  publishing = there.create_channel
  publishing.confirm_select
  publishing.fanout(name, auto_delete: true).publish('1')
  check(true, publishing.wait_for_confirms)
  check('1', inbox.pop[2])
  foreign = there.create_channel
  locked = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '#{queue.name}' in vhost '/'. It could " \
           'be originally declared on another connection or the exclusive property value does not match that of ' \
           'the original declaration.'
  refused(foreign, Bunny::ResourceLocked, locked) { foreign.queue_declare(queue.name, passive: true) }

  automatic = publishing.queue("#{name}-auto", auto_delete: true)
  _, consumer = subscribe(automatic)
  check(true, here.queue_exists?("#{name}-auto"))
  consumer.cancel
  check(false, here.queue_exists?("#{name}-auto"))
  queue.unbind(fanout)
  check(false, there.exchange_exists?(name))
end

def exchange_to_exchange(here, there, name)
  building = here.create_channel
  source = building.fanout("#{name}-source", durable: true)
  target = building.direct("#{name}-target", durable: true)
  target.bind(source)
  queue = building.queue(name, durable: true)
  queue.bind(target, routing_key: 'key')
  publishing = there.create_channel
  publishing.confirm_select
  %w[key other].each { |key| publishing.basic_publish(key, source.name, key) }
  check(true, publishing.wait_for_confirms)
  check('key', queue.pop[2])
  check(0, queue.message_count)
  target.unbind(source)
  publishing.basic_publish('late', source.name, 'key')
  check(true, publishing.wait_for_confirms)
  check(0, queue.message_count)
  queue.delete
  source.delete
  target.delete
end

def returns_and_refusals(here, there, name)
  publishing = here.create_channel
  publishing.confirm_select
  returned = Thread::Queue.new
  publishing.direct('amq.direct', durable: true).tap do |exchange|
    exchange.on_return { |*what| returned << what }
    exchange.publish('lost', routing_key: name, mandatory: true, message_id: 'm')
  end
  check(true, publishing.wait_for_confirms)
  info, properties, body = returned.pop
  check([312, 'NO_ROUTE', 'amq.direct', name], [info.reply_code, info.reply_text, info.exchange, info.routing_key])
  check(%w[m lost], [properties.message_id, body])

  channel = there.create_channel
  missing = "NOT_FOUND - no queue '#{name}' in vhost '/'"
  refused(channel, Bunny::NotFound, missing) { channel.queue_declare(name, passive: true) }
  channel = there.create_channel
  channel.queue(name, durable: true)
  other = here.create_channel
  unequal = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '#{name}' in vhost '/': received 'false' " \
            "but current is 'true'"
  refused(other, Bunny::PreconditionFailed, unequal) { other.queue(name, durable: false) }
  other = here.create_channel
  reserved = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
  refused(other, Bunny::AccessRefused, reserved) { other.queue('amq.mine', durable: true) }

  failed = Thread::Queue.new
  acking = there.create_channel
  acking.on_error { |_, close| failed << [close.reply_code, close.reply_text] }
  acking.basic_ack(99, false)
  check([406, 'PRECONDITION_FAILED - unknown delivery tag 99'], failed.pop)

  cancelled = Thread::Queue.new
  consumer = Bunny::Consumer.new(channel, name)
  consumer.on_cancellation { |cancel| cancelled << cancel.consumer_tag }
  channel.basic_consume_with(consumer)
  here.create_channel.queue_delete(name)
  check(consumer.consumer_tag, cancelled.pop)
end

def transactions(here, there, name)
  channel = here.create_channel
  queue = channel.queue(name, durable: true)
  channel.tx_select
  3.times { |n| channel.default_exchange.publish(n.to_s, routing_key: name) }
  other = there.create_channel.queue(name, durable: true)
  check(0, other.message_count)
  channel.tx_rollback
  4.times { |n| channel.default_exchange.publish(n.to_s, routing_key: name) }
  channel.tx_commit
  check(4, other.message_count)
  info, = queue.pop(manual_ack: true)
  channel.ack(info.delivery_tag)
  channel.tx_rollback
  channel.ack(info.delivery_tag)
  channel.tx_commit
  check(3, other.message_count)
  channel.close
  check(%w[1 2 3], Array.new(3) { other.pop[2] })
  other.delete
end

# Loses its node, comes back by itself, and says what it sees, one line each.
def recover(url, name)
  $stdout.sync = true
  channel = nil
  connection = Bunny.new(url, network_recovery_interval: 0.2, log_level: :fatal,
                              recovery_attempt_started: -> { puts 'disconnected' },
                              recovery_completed: -> { puts 'ready' })
  connection.start
  channel = connection.create_channel
  channel.prefetch(10)
  queue = channel.queue(name, durable: true)
  over = Thread::Queue.new
  queue.subscribe(manual_ack: true) do |info, _, body|
    puts "got #{body} #{info.redelivered?}"
    channel.ack(info.delivery_tag)
    over << true if body == 'last'
  end
  puts 'ready'
  over.pop
  connection.close
end

scene, here, there, name = ARGV
if scene == 'recover'
  recover(here, there)
else
  connections = [here, there].map { |url| Bunny.new(url, log_level: :fatal, automatically_recover: false).start }
  send(scene, *connections, name)
  connections.each(&:close)
end
