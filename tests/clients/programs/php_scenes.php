<?php
// What programs of PHP do with a broker through php-amqplib, each scene through two nodes of the cluster.
//
// Law: a scene checks what it sees by itself and cleans up; the program ends with 0 when the scene held, and
// otherwise with 255 and the reason. A wait ends with an error after WAIT_SECONDS.
//
//   php php_scenes.php SCENE URL_OF_ONE_NODE URL_OF_ANOTHER NAME

declare(strict_types=1);

require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPBasicCancelException;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPExceptionInterface;
use PhpAmqpLib\Exception\AMQPProtocolException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

const WAIT_SECONDS = 20;
const RETRY_MICROSECONDS = 50_000;
const REPLY_TO = 'amq.rabbitmq.reply-to';

// Warnings of sockets that end come before the exceptions that say the same.
set_error_handler(static fn (): bool => true, E_WARNING);

function check(mixed $expected, mixed $found): void
{
    if ($expected !== $found) {
        throw new RuntimeException('expected ' . var_export($expected, true) . ', found ' . var_export($found, true));
    }
}

/** A connection to the node of this URL. Further arguments by their names in AMQPStreamConnection. */
function dial(string $url, mixed ...$options): AMQPStreamConnection
{
    $at = parse_url($url);
    $named = ['password' => $at['pass'], 'read_write_timeout' => 2.0 * WAIT_SECONDS, ...$options];
    return new AMQPStreamConnection($at['host'], $at['port'], $at['user'], ...$named);
}

/** The refusal, as the library shows it: its code, the whole text, a channel that is closed. */
function refused(AMQPChannel $channel, int $code, string $text, callable $act): void
{
    try {
        $act($channel);
    } catch (AMQPProtocolException | AMQPConnectionClosedException $refusal) {
        check([$code, $text], [$refusal->getCode(), $refusal->getMessage()]);
        check(false, $channel->is_open());
        return;
    }
    throw new RuntimeException("not refused: $text");
}

/** Until this is so. */
function wait_until(AMQPChannel $channel, callable $condition): void
{
    while (!$condition()) {
        $channel->wait(null, false, WAIT_SECONDS);
    }
}

function confirming(AMQPStreamConnection $connection): AMQPChannel
{
    $channel = $connection->channel();
    $channel->set_nack_handler(static fn () => throw new RuntimeException('nacked'));
    $channel->confirm_select();
    return $channel;
}

function publish_numbers(AMQPChannel $channel, string $queue, int $count): void
{
    foreach (range(0, $count - 1) as $n) {
        $channel->batch_basic_publish(new AMQPMessage((string) $n, ['delivery_mode' => 2]), '', $queue);
    }
    $channel->publish_batch();
    $channel->wait_for_pending_acks_returns(WAIT_SECONDS);
}

function declare_queue(AMQPChannel $channel, string $name, array $arguments = []): void
{
    $channel->queue_declare($name, false, true, false, false, false, new AMQPTable($arguments));
}

/** Ready messages, as a passive declaration tells. */
function ready(AMQPChannel $channel, string $queue): int
{
    return $channel->queue_declare($queue, true)[1];
}

function publish_and_consume(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $publishing = confirming($here);
    declare_queue($publishing, $name);
    $publishing->exchange_declare("$name-x", 'topic', false, true, false);
    $publishing->queue_bind($name, "$name-x", 'stock.#');
    $headers = [
        'n' => 1, 'big' => 1 << 40, 'negative' => -5, 'yes' => true, 'nothing' => null, 'text' => 'é',
        'list' => [1, 'two', [3, null]], 'table' => ['a' => ['b' => 'c']], 'long' => str_repeat('l', 5000),
    ];
    $properties = [
        'content_type' => 'text/plain', 'content_encoding' => 'utf-8', 'delivery_mode' => 2, 'priority' => 3,
        'correlation_id' => 'c', 'reply_to' => 'r', 'expiration' => '60000', 'message_id' => 'm',
        'timestamp' => 1_700_000_000, 'type' => 't', 'user_id' => 'guest', 'app_id' => 'php',
    ];
    foreach (range(0, 39) as $n) {
        $table = ['application_headers' => new AMQPTable($headers)];
        $publishing->basic_publish(new AMQPMessage((string) $n, $properties + $table), "$name-x", 'stock.ibm', true);
    }
    $publishing->wait_for_pending_acks_returns(WAIT_SECONDS);

    $consuming = $there->channel();
    $consuming->basic_qos(0, 6, false);
    $inbox = [];
    $take = static function (AMQPMessage $message) use (&$inbox): void {
        $inbox[] = $message;
    };
    $tag = $consuming->basic_consume($name, '', false, false, false, false, $take);
    wait_until($consuming, static function () use (&$inbox): bool {
        return count($inbox) >= 6;
    });
    // Answered after anything that would have been delivered beyond the prefetch count.
    check(34, ready($consuming, $name));
    check(6, count($inbox));
    $inbox[5]->ack(true);
    $acked = 6;
    while ($acked < 40) {
        $consuming->wait(null, false, WAIT_SECONDS);
        while ($acked < count($inbox)) {
            $inbox[$acked++]->ack();
        }
    }
    check(array_map('strval', range(0, 39)), array_map(static fn (AMQPMessage $m) => $m->getBody(), $inbox));
    $last = $inbox[39];
    check(["$name-x", 'stock.ibm', false], [$last->getExchange(), $last->getRoutingKey(), $last->isRedelivered()]);
    $found = $last->get_properties();
    $table = $found['application_headers']->getNativeData();
    unset($found['application_headers']);
    ksort($table);
    ksort($headers);
    ksort($found);
    ksort($properties);
    check($headers, $table);
    check($properties, $found);
    $consuming->basic_cancel($tag);
    check(0, $consuming->queue_delete($name, true, true));
    $consuming->exchange_delete("$name-x", true);
}

function large_and_empty_messages(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $publishing = confirming($here);
    declare_queue($publishing, $name);
    $channel = $there->channel();
    foreach ([0, 1, 131_063, 131_064, 131_065, 3_000_000] as $size) {
        $body = str_repeat('z', $size);
        $publishing->basic_publish(new AMQPMessage($body), '', $name, true);
        $publishing->wait_for_pending_acks_returns(WAIT_SECONDS);
        $got = $channel->basic_get($name, true);
        check([$size, true], [strlen($got->getBody()), $got->getBody() === $body]);
    }
    $channel->queue_delete($name);
}

function get_nack_and_reject(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $publishing = confirming($here);
    declare_queue($publishing, "$name-dead");
    declare_queue(
        $publishing,
        $name,
        ['x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => "$name-dead"],
    );
    publish_numbers($publishing, $name, 3);
    $channel = $there->channel();
    $got = $channel->basic_get($name);
    check(['0', false, 2], [$got->getBody(), $got->isRedelivered(), $got->getMessageCount()]);
    $got->nack(true);
    $got = $channel->basic_get($name);
    check(['0', true], [$got->getBody(), $got->isRedelivered()]);
    $channel->basic_recover(true);
    check(3, ready($channel, $name));
    $channel->basic_get($name)->reject(false);
    $channel->basic_get($name)->nack();
    $channel->basic_get($name)->ack();
    check(null, $channel->basic_get($name));
    $dead = [];
    $channel->basic_consume("$name-dead", '', false, true, false, false, static function ($message) use (&$dead): void {
        $dead[] = $message;
    });
    wait_until($channel, static function () use (&$dead): bool {
        return count($dead) === 2;
    });
    $death = $dead[0]->get('application_headers')->getNativeData()['x-death'][0];
    check(['rejected', $name, 1], [$death['reason'], $death['queue'], $death['count']]);
    $channel->queue_delete($name);
    $channel->queue_delete("$name-dead");
}

function temporary_queues(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $owning = $here->channel();
    [$queue] = $owning->queue_declare('', false, false, true);
    check(1, preg_match('/^amq\.gen-[A-Za-z0-9_-]{22}$/', $queue));
    $owning->exchange_declare($name, 'fanout', false, false, true);
    $owning->queue_bind($queue, $name);
    $publishing = confirming($there);
    $publishing->basic_publish(new AMQPMessage('1'), $name, 'any', true);
    $publishing->wait_for_pending_acks_returns(WAIT_SECONDS);
    check('1', $owning->basic_get($queue, true)->getBody());
    $locked = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '$queue' in vhost '/'. It could be " .
        'originally declared on another connection or the exclusive property value does not match that of the ' .
        'original declaration.';
    refused($there->channel(), 405, $locked, static fn ($channel) => $channel->queue_declare($queue, true));
    $owning->queue_unbind($queue, $name);
    $gone = "NOT_FOUND - no exchange '$name' in vhost '/'";
    refused($there->channel(), 404, $gone, static fn ($channel) => $channel->exchange_declare($name, 'fanout', true));
}

function exchange_to_exchange(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $building = $here->channel();
    $building->exchange_declare("$name-source", 'headers', false, true, false);
    $building->exchange_declare("$name-target", 'fanout', false, true, false);
    $match = new AMQPTable(['x-match' => 'any', 'kind' => 'report', 'urgent' => true]);
    $building->exchange_bind("$name-target", "$name-source", '', false, $match);
    declare_queue($building, $name);
    $building->queue_bind($name, "$name-target");
    $publishing = confirming($there);
    foreach ([['kind' => 'report'], ['kind' => 'letter'], ['urgent' => true]] as $headers) {
        $message = new AMQPMessage('', ['application_headers' => new AMQPTable($headers)]);
        $publishing->basic_publish($message, "$name-source");
    }
    $publishing->wait_for_pending_acks_returns(WAIT_SECONDS);
    check(2, $building->queue_purge($name));
    $building->exchange_unbind("$name-target", "$name-source", '', false, $match);
    $building->queue_delete($name);
    $building->exchange_delete("$name-source", true);
    $building->exchange_delete("$name-target", true);
}

function returns_and_refusals(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $publishing = confirming($here);
    $returned = [];
    $publishing->set_return_listener(static function (...$return) use (&$returned): void {
        $returned[] = $return;
    });
    $publishing->basic_publish(new AMQPMessage('lost', ['message_id' => 'm']), 'amq.direct', $name, true);
    $publishing->wait_for_pending_acks_returns(WAIT_SECONDS);
    [$code, $text, $exchange, $key, $message] = $returned[0];
    check([312, 'NO_ROUTE', 'amq.direct', $name], [$code, $text, $exchange, $key]);
    check(['lost', 'm'], [$message->getBody(), $message->get('message_id')]);

    $missing = "NOT_FOUND - no queue '$name' in vhost '/'";
    refused($there->channel(), 404, $missing, static fn ($channel) => $channel->basic_get($name));
    refused($there->channel(), 404, $missing, static fn ($channel) => $channel->basic_consume($name));
    check(0, $there->channel()->queue_delete($name));
    declare_queue($publishing, $name, ['x-max-length' => 5]);
    $unequal = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '$name' in vhost '/': received '6' " .
        "but current is '5'";
    refused($here->channel(), 406, $unequal, static fn ($channel) => declare_queue($channel, $name, ['x-max-length' => 6]));
    $unknown = 'PRECONDITION_FAILED - unknown delivery tag 99';
    refused($there->channel(), 406, $unknown, static function ($channel): void {
        $channel->basic_ack(99);
        $channel->wait(null, false, WAIT_SECONDS);
    });
    publish_numbers($publishing, $name, 1);
    $full = "PRECONDITION_FAILED - queue '$name' in vhost '/' not empty";
    refused($there->channel(), 406, $full, static fn ($channel) => $channel->queue_delete($name, false, true));

    $consuming = $there->channel();
    $tag = $consuming->basic_consume($name, '', false, false, true);
    $used = "PRECONDITION_FAILED - queue '$name' in vhost '/' in use";
    refused($here->channel(), 406, $used, static fn ($channel) => $channel->queue_delete($name, true));
    $alone = "ACCESS_REFUSED - queue '$name' in vhost '/' in exclusive use";
    refused($here->channel(), 403, $alone, static fn ($channel) => $channel->basic_consume($name));
    $publishing->queue_delete($name);
    try {
        wait_until($consuming, static fn () => false);
    } catch (AMQPBasicCancelException $cancelled) {
        check($tag, $cancelled->consumerTag);
    }
}

function refused_connections(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    global $argv;
    // Behind the text the library puts the class and the method that the connection was closed for.
    $login = 'ACCESS_REFUSED - Login was refused using authentication mechanism %s. For details see the broker ' .
        'logfile.(0, 0)';
    $nowhere = "NOT_ALLOWED - vhost $name not found(10, 40)";
    $cases = [
        [403, sprintf($login, 'PLAIN'), ['password' => 'wrong', 'login_method' => 'PLAIN']],
        [403, sprintf($login, 'AMQPLAIN'), ['password' => 'wrong', 'login_method' => 'AMQPLAIN']],
        [530, $nowhere, ['vhost' => $name]],
    ];
    foreach ($cases as [$code, $text, $options]) {
        try {
            dial($argv[2], ...$options);
            throw new RuntimeException("not refused: $text");
        } catch (AMQPConnectionClosedException $refusal) {
            check([$code, $text], [$refusal->getCode(), $refusal->getMessage()]);
        }
    }
    $immediate = 'NOT_IMPLEMENTED - immediate=true(60, 40)';
    refused($here->channel(), 540, $immediate, static function ($channel) use ($name): void {
        $channel->basic_publish(new AMQPMessage('now'), '', $name, false, true);
        $channel->wait(null, false, WAIT_SECONDS);
    });
    check(false, $here->isConnected());
}

function transactions(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $channel = $here->channel();
    declare_queue($channel, $name);
    $channel->tx_select();
    $channel->basic_publish(new AMQPMessage('0'), '', $name);
    $channel->tx_rollback();
    $channel->basic_publish(new AMQPMessage('1'), '', $name);
    $other = $there->channel();
    check(0, ready($other, $name));
    $channel->tx_commit();
    check(1, ready($other, $name));
    $channel->basic_get($name)->ack();
    $channel->tx_commit();
    check(0, $other->queue_delete($name));
}

function calls_procedures(AMQPStreamConnection $here, AMQPStreamConnection $there, string $name): void
{
    $serving = $here->channel();
    declare_queue($serving, $name);
    $serving->basic_consume($name, '', false, false, false, false, static function (AMQPMessage $request): void {
        $answer = new AMQPMessage((string) $request->getBody() ** 2, ['correlation_id' => $request->get('correlation_id')]);
        $request->getChannel()->basic_publish($answer, '', $request->get('reply_to'));
        $request->ack();
    });
    $calling = $there->channel();
    $answers = [];
    $calling->basic_consume(REPLY_TO, '', false, true, false, false, static function ($answer) use (&$answers): void {
        $answers[$answer->get('correlation_id')] = (int) $answer->getBody();
    });
    foreach (range(1, 10) as $n) {
        $request = new AMQPMessage((string) $n, ['reply_to' => REPLY_TO, 'correlation_id' => "c$n"]);
        $calling->basic_publish($request, '', $name);
        $serving->wait(null, false, WAIT_SECONDS);
        $calling->wait(null, false, WAIT_SECONDS);
        check($n ** 2, $answers["c$n"]);
    }
    $serving->queue_delete($name);
}

/** Loses its node, comes back, and says what it sees, one line each. */
function recover(string $url, string $name): void
{
    $over = false;
    while (!$over) {
        try {
            $connection = dial($url, read_write_timeout: 4.0, heartbeat: 2);
            $channel = $connection->channel();
            $channel->basic_qos(0, 10, false);
            declare_queue($channel, $name);
            $take = static function (AMQPMessage $message) use (&$over): void {
                echo "got {$message->getBody()} ", var_export($message->isRedelivered(), true), "\n";
                $message->ack();
                $over = $message->getBody() === 'last';
            };
            $channel->basic_consume($name, '', false, false, false, false, $take);
            echo "ready\n";
            while (!$over) {
                $channel->wait();
            }
            $connection->close();
        } catch (AMQPExceptionInterface $lost) {
            if (isset($channel)) {
                echo "disconnected\n";
            }
            unset($channel);
            usleep(RETRY_MICROSECONDS);
        }
    }
}

[, $scene, $here, $there] = $argv;
if ($scene === 'recover') {
    recover($here, $there);
} else {
    $connections = [dial($here), dial($there)];
    $scene(...$connections, name: $argv[4]);
    foreach ($connections as $connection) {
        $connection->close();
    }
}
