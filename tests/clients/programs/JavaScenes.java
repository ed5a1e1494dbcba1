// What programs of Java do with a broker through amqp-client, each scene through two nodes of the cluster.
//
// Law: a scene checks what it sees by itself and cleans up; the program ends with 0 when the scene held, and
// otherwise with 1 and the reason. A wait takes from a queue; who started this program ends one that hangs.
//
//   java JavaScenes SCENE URL_OF_ONE_NODE URL_OF_ANOTHER NAME

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.LongString;
import com.rabbitmq.client.Method;
import com.rabbitmq.client.PossibleAuthenticationFailureException;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcServer;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

public final class JavaScenes {
    private static final String CAPABILITIES = "capabilities";
    private static final int RETRY_MILLISECONDS = 100;
    private static Connection here;
    private static Connection there;
    private static String firstUrl;

    private JavaScenes() {}

    private interface Act {
        void on(Channel channel) throws Exception;
    }

    /** Deliveries of one consumer, and that it was cancelled, in order. */
    private static final class Inbox extends DefaultConsumer {
        static final Delivery CANCELLED = new Delivery(null, null, new byte[0]);
        private final BlockingQueue<Delivery> arrived = new LinkedBlockingQueue<>();

        Inbox(Channel channel) {
            super(channel);
        }

        @Override
        public void handleDelivery(String tag, Envelope envelope, BasicProperties properties, byte[] body) {
            arrived.add(new Delivery(envelope, properties, body));
        }

        @Override
        public void handleCancel(String tag) {
            arrived.add(CANCELLED);
        }

        Delivery next() throws InterruptedException {
            return arrived.take();
        }
    }

    private static final class Delivery {
        final Envelope envelope;
        final BasicProperties properties;
        final String text;

        Delivery(Envelope envelope, BasicProperties properties, byte[] body) {
            this.envelope = envelope;
            this.properties = properties;
            this.text = new String(body);
        }
    }

    private static void check(Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    private static ConnectionFactory factory(String url) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(url);
        factory.setAutomaticRecoveryEnabled(false);
        return factory;
    }

    /** The refusal that ends a channel, or its connection: its code and the whole text. */
    private static void refused(Channel channel, int code, String text, Act act) throws Exception {
        BlockingQueue<ShutdownSignalException> closed = new LinkedBlockingQueue<>();
        channel.addShutdownListener(closed::add);
        try {
            act.on(channel);
        } catch (IOException | ShutdownSignalException seen) {
            // The listener is told, too.
        }
        Method reason = closed.take().getReason();
        if (reason instanceof AMQP.Connection.Close) {
            AMQP.Connection.Close close = (AMQP.Connection.Close) reason;
            check(code + " " + text, close.getReplyCode() + " " + close.getReplyText());
        } else {
            AMQP.Channel.Close close = (AMQP.Channel.Close) reason;
            check(code + " " + text, close.getReplyCode() + " " + close.getReplyText());
        }
        check(false, channel.isOpen());
    }

    private static Channel confirming(Connection connection) throws IOException {
        Channel channel = connection.createChannel();
        channel.confirmSelect();
        return channel;
    }

    private static Map<String, Object> table(Object... keysAndValues) {
        Map<String, Object> table = new HashMap<>();
        for (int i = 0; i < keysAndValues.length; i += 2) {
            table.put((String) keysAndValues[i], keysAndValues[i + 1]);
        }
        return table;
    }

    /** As it was sent: the library gives long strings and octets a class of its own. */
    private static Object plain(Object value) {
        if (value instanceof Map) {
            Map<String, Object> plain = new TreeMap<>();
            ((Map<?, ?>) value).forEach((key, inner) -> plain.put((String) key, plain(inner)));
            return plain.toString();
        }
        if (value instanceof List) {
            List<Object> plain = new ArrayList<>();
            ((List<?>) value).forEach(inner -> plain.add(plain(inner)));
            return plain;
        }
        if (value instanceof byte[]) {
            return Arrays.toString((byte[]) value);
        }
        return value instanceof LongString ? value.toString() : value;
    }

    private static void publishNumbers(Channel channel, String queue, int count) throws Exception {
        for (int n = 0; n < count; n++) {
            channel.basicPublish("", queue, null, String.valueOf(n).getBytes());
        }
        channel.waitForConfirmsOrDie();
    }

    private static void publishAndConsume(String name) throws Exception {
        Channel publishing = confirming(here);
        publishing.queueDeclare(name, true, false, false, null);
        publishing.exchangeDeclare(name + "-x", "topic", true);
        publishing.queueBind(name, name + "-x", "stock.#");
        Map<String, Object> headers = table(
            "null", null, "boolean", true, "byte", (byte) -5, "short", (short) -300, "int", -70000, "long", 1L << 40,
            "float", 1.5f, "double", 3.14, "text", "é", "octets", new byte[] {0, -1}, "at", new Date(1700000000000L),
            "decimal", new BigDecimal("3.14"), "list", Arrays.asList(1, "two", null, Arrays.asList()),
            "table", table("deep", table("x", false)));
        BasicProperties properties = new BasicProperties.Builder().headers(headers).contentType("text/plain")
            .contentEncoding("utf-8").deliveryMode(2).priority(3).correlationId("c").replyTo("r").expiration("60000")
            .messageId("m").timestamp(new Date(1700000000000L)).type("t").userId("guest").appId("java").build();
        for (int n = 0; n < 40; n++) {
            check(n + 1L, publishing.getNextPublishSeqNo());
            publishing.basicPublish(name + "-x", "stock.ibm", true, properties, String.valueOf(n).getBytes());
        }
        check(true, publishing.waitForConfirms());

        Channel consuming = there.createChannel();
        consuming.basicQos(6);
        Inbox inbox = new Inbox(consuming);
        String tag = consuming.basicConsume(name, inbox);
        Delivery last = null;
        for (int n = 0; n < 6; n++) {
            last = inbox.next();
            check(String.valueOf(n), last.text);
        }
        // Answered after anything that would have been delivered beyond the prefetch count.
        check(34L, consuming.messageCount(name));
        check(0, inbox.arrived.size());
        consuming.basicAck(last.envelope.getDeliveryTag(), true);
        for (int n = 6; n < 40; n++) {
            last = inbox.next();
            check(String.valueOf(n), last.text);
            consuming.basicAck(last.envelope.getDeliveryTag(), false);
        }
        check(new Envelope(40, false, name + "-x", "stock.ibm").toString(), last.envelope.toString());
        check(plain(headers), plain(last.properties.getHeaders()));
        check(properties.builder().headers(null).build().toString(),
            last.properties.builder().headers(null).build().toString());
        consuming.basicCancel(tag);
        check(0, consuming.queueDelete(name, true, true).getMessageCount());
        consuming.exchangeDelete(name + "-x", true);
    }

    private static void framesOfEverySize(String name) throws Exception {
        Channel publishing = confirming(here);
        publishing.queueDeclare(name, true, false, false, null);
        ConnectionFactory small = factory(firstUrl);
        small.setRequestedFrameMax(4096);
        small.setRequestedChannelMax(3);
        small.setRequestedHeartbeat(1);
        small.useNio();
        try (Connection connection = small.newConnection("small")) {
            check("4096 3 1", connection.getFrameMax() + " " + connection.getChannelMax() + " " + connection.getHeartbeat());
            Channel receiving = connection.createChannel(3);
            check(true, connection.createChannel(4) == null);
            for (int size : new int[] {0, 1, 4087, 4088, 4089, 131063, 131064, 131065, 2000000}) {
                byte[] body = new byte[size];
                Arrays.fill(body, (byte) 'z');
                publishing.basicPublish("", name, null, body);
                publishing.waitForConfirmsOrDie();
                check(true, Arrays.equals(body, receiving.basicGet(name, true).getBody()));
            }
        }
        check(0, publishing.queueDelete(name).getMessageCount());
    }

    private static void getNackAndReject(String name) throws Exception {
        Channel publishing = confirming(here);
        publishing.queueDeclare(name + "-dead", true, false, false, null);
        publishing.queueDeclare(name, true, false, false,
            table("x-dead-letter-exchange", "", "x-dead-letter-routing-key", name + "-dead"));
        publishNumbers(publishing, name, 3);
        Channel channel = there.createChannel();
        GetResponse got = channel.basicGet(name, false);
        check("0 false 2", new String(got.getBody()) + " " + got.getEnvelope().isRedeliver() + " " + got.getMessageCount());
        channel.basicNack(got.getEnvelope().getDeliveryTag(), false, true);
        got = channel.basicGet(name, false);
        check("0 true", new String(got.getBody()) + " " + got.getEnvelope().isRedeliver());
        channel.basicRecover();
        check(3L, publishing.messageCount(name));
        channel.basicReject(channel.basicGet(name, false).getEnvelope().getDeliveryTag(), false);
        channel.basicNack(channel.basicGet(name, false).getEnvelope().getDeliveryTag(), false, false);
        channel.basicAck(channel.basicGet(name, false).getEnvelope().getDeliveryTag(), false);
        check(true, channel.basicGet(name, true) == null);
        Inbox dead = new Inbox(channel);
        channel.basicConsume(name + "-dead", true, dead);
        Object deaths = dead.next().properties.getHeaders().get("x-death");
        Map<?, ?> death = (Map<?, ?>) ((List<?>) deaths).get(0);
        check("rejected " + name + " 1", death.get("reason") + " " + death.get("queue") + " " + death.get("count"));
        channel.queueDelete(name);
        channel.queueDelete(name + "-dead");
    }

    private static void temporaryQueues(String name) throws Exception {
        Channel owning = here.createChannel();
        String queue = owning.queueDeclare().getQueue();
        check(true, queue.matches("amq\\.gen-[A-Za-z0-9_-]{22}"));
        owning.exchangeDeclare(name, "fanout", false, true, null);
        owning.queueBind(queue, name, "");
        Channel publishing = confirming(there);
        publishing.basicPublish(name, "any", null, "1".getBytes());
        publishing.waitForConfirmsOrDie();
        check("1", new String(owning.basicGet(queue, true).getBody()));
        String locked = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + queue + "' in vhost '/'. It "
            + "could be originally declared on another connection or the exclusive property value does not match that of "
            + "the original declaration.";
        refused(there.createChannel(), 405, locked, channel -> channel.queueDeclarePassive(queue));
        owning.queueUnbind(queue, name, "");
        String gone = "NOT_FOUND - no exchange '" + name + "' in vhost '/'";
        refused(there.createChannel(), 404, gone, channel -> channel.exchangeDeclarePassive(name));
    }

    private static void returnsAndRefusals(String name) throws Exception {
        Channel publishing = confirming(here);
        BlockingQueue<String> returned = new LinkedBlockingQueue<>();
        publishing.addReturnListener((code, text, exchange, key, properties, body) ->
            returned.add(code + " " + text + " " + exchange + " " + key + " " + new String(body)));
        publishing.basicPublish("amq.direct", name, true, null, "lost".getBytes());
        check("312 NO_ROUTE amq.direct " + name + " lost", returned.take());
        check(true, publishing.waitForConfirms());

        String missing = "NOT_FOUND - no queue '" + name + "' in vhost '/'";
        refused(there.createChannel(), 404, missing, channel -> channel.messageCount(name));
        publishing.queueDeclareNoWait(name, true, false, false, table("x-max-length", 1, "x-overflow", "reject-publish"));
        check(0L, publishing.consumerCount(name));
        String unequal = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '" + name + "' in vhost '/': received "
            + "'false' but current is 'true'";
        refused(here.createChannel(), 406, unequal, channel -> channel.queueDeclare(name, false, false, false, null));
        refused(there.createChannel(), 406, "PRECONDITION_FAILED - unknown delivery tag 99",
            channel -> channel.basicAck(99, false));
        publishNumbers(publishing, name, 1);
        publishing.basicPublish("", name, null, "full".getBytes());
        check(false, publishing.waitForConfirms());

        Channel consuming = there.createChannel();
        Inbox inbox = new Inbox(consuming);
        consuming.basicConsume(name, false, "tag", false, true, null, inbox);
        check("0", inbox.next().text);
        String alone = "ACCESS_REFUSED - queue '" + name + "' in vhost '/' in exclusive use";
        refused(here.createChannel(), 403, alone, channel -> channel.basicConsume(name, new Inbox(channel)));
        String reused = "NOT_ALLOWED - attempt to reuse consumer tag 'tag'";
        publishing.queueDelete(name);
        check(Inbox.CANCELLED, inbox.next());
        publishing.queueDeclare(name, true, false, false, null);
        consuming.basicConsume(name, false, "tag", inbox);
        refused(consuming, 530, reused, channel -> channel.basicConsume(name, false, "tag", inbox));
        check(false, there.isOpen());
        publishing.queueDelete(name);
    }

    private static void refusedConnections(String name) throws Exception {
        ConnectionFactory wrong = factory(firstUrl);
        wrong.setPassword("wrong");
        try {
            wrong.newConnection();
            throw new AssertionError("not refused");
        } catch (AuthenticationFailureException refusal) {
            check("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker "
                + "logfile.", refusal.getMessage());
        }
        Map<String, Object> properties = new HashMap<>(wrong.getClientProperties());
        properties.remove(CAPABILITIES);
        wrong.setClientProperties(properties);
        try {
            wrong.newConnection();
            throw new AssertionError("not refused");
        } catch (AuthenticationFailureException told) {
            throw new AssertionError("told, and had not said that it wants to be", told);
        } catch (PossibleAuthenticationFailureException silence) {
            // What a client that does not want to be told makes of it.
        }
        ConnectionFactory nowhere = factory(firstUrl);
        nowhere.setVirtualHost(name);
        try {
            nowhere.newConnection();
            throw new AssertionError("not refused");
        } catch (IOException refusal) {
            ShutdownSignalException cause = (ShutdownSignalException) refusal.getCause();
            AMQP.Connection.Close close = (AMQP.Connection.Close) cause.getReason();
            check("530 NOT_ALLOWED - vhost " + name + " not found", close.getReplyCode() + " " + close.getReplyText());
        }
    }

    private static void transactions(String name) throws Exception {
        Channel channel = here.createChannel();
        Channel other = there.createChannel();
        channel.queueDeclare(name, true, false, false, null);
        channel.txSelect();
        channel.basicPublish("", name, null, "0".getBytes());
        channel.txRollback();
        channel.basicPublish("", name, null, "1".getBytes());
        check(0L, other.messageCount(name));
        channel.txCommit();
        check(1L, other.messageCount(name));
        channel.basicAck(channel.basicGet(name, false).getEnvelope().getDeliveryTag(), false);
        channel.txRollback();
        channel.basicRecover();
        check(1L, other.messageCount(name));
        channel.basicAck(channel.basicGet(name, false).getEnvelope().getDeliveryTag(), false);
        channel.txCommit();
        channel.close();
        check(0, other.queueDelete(name).getMessageCount());
    }

    private static void callsProcedures(String name) throws Exception {
        Channel serving = here.createChannel();
        serving.queueDeclare(name, true, false, false, null);
        RpcServer server = new RpcServer(serving, name) {
            @Override
            public byte[] handleCall(byte[] request, BasicProperties properties) {
                return (new String(request) + "!").getBytes();
            }
        };
        Thread thread = new Thread(() -> {
            try {
                server.mainloop();
            } catch (IOException | ShutdownSignalException over) {
                // The connection was closed.
            }
        });
        thread.setDaemon(true);
        thread.start();
        RpcClient client = new RpcClient(there.createChannel(), "", name, "amq.rabbitmq.reply-to");
        for (int n = 0; n < 20; n++) {
            check(n + "!", client.stringCall(String.valueOf(n)));
        }
        client.close();
        there.createChannel().queueDelete(name);
    }

    /** Loses its node, comes back by itself with all that it had declared, and says what it sees, one line each. */
    private static void recover(String url, String name) throws Exception {
        ConnectionFactory factory = factory(url);
        factory.setAutomaticRecoveryEnabled(true);
        factory.setNetworkRecoveryInterval(RETRY_MILLISECONDS);
        Connection connection = factory.newConnection();
        connection.addShutdownListener(lost -> System.out.println("disconnected"));
        ((Recoverable) connection).addRecoveryListener(new RecoveryListener() {
            @Override
            public void handleRecovery(Recoverable recovered) {
                System.out.println("ready");
            }

            @Override
            public void handleRecoveryStarted(Recoverable recovering) {}
        });
        Channel channel = connection.createChannel();
        channel.basicQos(10);
        channel.queueDeclare(name, true, false, false, null);
        BlockingQueue<String> over = new LinkedBlockingQueue<>();
        String own = channel.queueDeclare().getQueue();
        channel.queueBind(own, "amq.topic", name);
        channel.basicConsume(own, true, new DefaultConsumer(channel) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, BasicProperties properties, byte[] body) {
                over.add(new String(body));
            }
        });
        channel.basicConsume(name, new DefaultConsumer(channel) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, BasicProperties properties, byte[] body)
                throws IOException {
                System.out.println("got " + new String(body) + " " + envelope.isRedeliver());
                getChannel().basicAck(envelope.getDeliveryTag(), false);
                if (new String(body).equals("last")) {
                    // Through the server-named queue, its binding and its consumer, all of which have to be there again.
                    getChannel().basicPublish("amq.topic", name, null, body);
                }
            }
        });
        System.out.println("ready");
        check("last", over.take());
        connection.close();
    }

    private static void play(String scene, String name) throws Exception {
        switch (scene) {
            case "publish_and_consume": publishAndConsume(name); break;
            case "frames_of_every_size": framesOfEverySize(name); break;
            case "get_nack_and_reject": getNackAndReject(name); break;
            case "temporary_queues": temporaryQueues(name); break;
            case "returns_and_refusals": returnsAndRefusals(name); break;
            case "refused_connections": refusedConnections(name); break;
            case "transactions": transactions(name); break;
            case "calls_procedures": callsProcedures(name); break;
            default: throw new IllegalArgumentException(scene);
        }
    }

    public static void main(String[] arguments) throws Exception {
        try {
            if (arguments[0].equals("recover")) {
                recover(arguments[1], arguments[2]);
                System.exit(0);
            }
            firstUrl = arguments[1];
            here = factory(arguments[1]).newConnection("here");
            there = factory(arguments[2]).newConnection("there");
            play(arguments[0], arguments[3]);
            here.close();
            there.abort();
            System.exit(0);
        } catch (Throwable failure) {
            failure.printStackTrace();
            System.exit(1);
        }
    }
}
