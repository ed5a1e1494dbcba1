// What programs of Go do with a broker through amqp091-go, each scene through two nodes of the cluster.
//
// Law: a scene checks what it sees by itself and cleans up; the program ends with 0 when the scene held, and
// otherwise with 2 and the reason. Nothing is waited for by time: who started this program ends one that hangs.
//
//	go_scenes SCENE URL_OF_ONE_NODE URL_OF_ANOTHER NAME
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	retry   = 50 * time.Millisecond
	replyTo = "amq.rabbitmq.reply-to"
)

var (
	ctx   = context.Background()
	urls  []string
	here  *amqp.Connection
	there *amqp.Connection
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(expected, found any) {
	if !reflect.DeepEqual(expected, found) {
		panic(fmt.Sprintf("expected %#v, found %#v", expected, found))
	}
}

func dial(url string) *amqp.Connection {
	connection, err := amqp.Dial(url)
	must(err)
	return connection
}

func open(connection *amqp.Connection) *amqp.Channel {
	channel, err := connection.Channel()
	must(err)
	return channel
}

// confirming is a channel in confirm mode.
func confirming(connection *amqp.Connection) *amqp.Channel {
	channel := open(connection)
	must(channel.Confirm(false))
	return channel
}

// refused checks the refusal that ends a channel, or its whole connection, wherever the library shows it.
func refused(connection *amqp.Connection, code int, text string, act func(*amqp.Channel) error) {
	channel := open(connection)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	if err := act(channel); err != nil {
		check(code, err.(*amqp.Error).Code)
	}
	refusal := <-closed
	check([]any{code, text, true}, []any{refusal.Code, refusal.Reason, refusal.Server})
	check(true, channel.IsClosed())
}

// publish waits until the message is confirmed.
func publish(channel *amqp.Channel, exchange, key string, message amqp.Publishing) {
	confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, message)
	must(err)
	check(true, confirm.Wait())
}

func publishNumbers(channel *amqp.Channel, queue string, count int) {
	for n := 0; n < count; n++ {
		publish(channel, "", queue, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(strconv.Itoa(n))})
	}
}

func declare(channel *amqp.Channel, name string, arguments amqp.Table) {
	_, err := channel.QueueDeclare(name, true, false, false, false, arguments)
	must(err)
}

func ready(channel *amqp.Channel, name string) int {
	queue, err := channel.QueueDeclarePassive(name, true, false, false, false, nil)
	must(err)
	return queue.Messages
}

func get(channel *amqp.Channel, name string) amqp.Delivery {
	message, ok, err := channel.Get(name, false)
	must(err)
	check(true, ok)
	return message
}

func consume(channel *amqp.Channel, name string, autoAck bool) <-chan amqp.Delivery {
	inbox, err := channel.Consume(name, "tag", autoAck, false, false, false, nil)
	must(err)
	return inbox
}

func deleted(channel *amqp.Channel, queue string) int {
	count, err := channel.QueueDelete(queue, false, false, false)
	must(err)
	return count
}

func publishAndConsume(name string) {
	publishing := confirming(here)
	declare(publishing, name, nil)
	must(publishing.ExchangeDeclare(name+"-x", "topic", true, false, false, false, nil))
	must(publishing.QueueBind(name, "stock.#", name+"-x", false, nil))
	at := time.Unix(1700000000, 0)
	headers := amqp.Table{
		"nil": nil, "bool": true, "byte": byte(200), "int16": int16(-300), "int32": int32(-70000), "int64": int64(1) << 40,
		"float": float32(1.5), "double": 3.14, "text": "é", "octets": []byte{0, 255}, "at": at,
		"decimal": amqp.Decimal{Scale: 2, Value: 314}, "long": strings.Repeat("l", 5000),
		"list": []any{int32(1), "two", nil, []any{false}, amqp.Table{}}, "table": amqp.Table{"deep": amqp.Table{"x": false}},
	}
	message := amqp.Publishing{
		Headers: headers, ContentType: "text/plain", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Priority: 3,
		CorrelationId: "c", ReplyTo: "r", Expiration: "60000", MessageId: "m", Timestamp: at, Type: "t", UserId: "guest",
		AppId: "go",
	}
	var confirms []*amqp.DeferredConfirmation
	for n := 0; n < 40; n++ {
		message.Body = []byte(strconv.Itoa(n))
		confirm, err := publishing.PublishWithDeferredConfirmWithContext(ctx, name+"-x", "stock.ibm", true, false, message)
		must(err)
		check(uint64(n+1), confirm.DeliveryTag)
		confirms = append(confirms, confirm)
	}
	for _, confirm := range confirms {
		check(true, confirm.Wait())
	}

	consuming := open(there)
	must(consuming.Qos(6, 0, false))
	inbox := consume(consuming, name, false)
	var last amqp.Delivery
	for n := 0; n < 6; n++ {
		last = <-inbox
		check(strconv.Itoa(n), string(last.Body))
	}
	// Answered after anything that would have been delivered beyond the prefetch count.
	check(34, ready(consuming, name))
	check(0, len(inbox))
	must(last.Ack(true))
	for n := 6; n < 40; n++ {
		last = <-inbox
		check(strconv.Itoa(n), string(last.Body))
		must(last.Ack(false))
	}
	check([]any{name + "-x", "stock.ibm", false, uint64(40)},
		[]any{last.Exchange, last.RoutingKey, last.Redelivered, last.DeliveryTag})
	check(headers, last.Headers)
	check(message, amqp.Publishing{
		Headers: headers, ContentType: last.ContentType, ContentEncoding: last.ContentEncoding,
		DeliveryMode: last.DeliveryMode, Priority: last.Priority, CorrelationId: last.CorrelationId, ReplyTo: last.ReplyTo,
		Expiration: last.Expiration, MessageId: last.MessageId, Timestamp: last.Timestamp, Type: last.Type,
		UserId: last.UserId, AppId: last.AppId, Body: last.Body,
	})
	must(consuming.Cancel("tag", false))
	_, open := <-inbox
	check(false, open)
	_, err := consuming.QueueDelete(name, true, true, false)
	must(err)
	must(consuming.ExchangeDelete(name+"-x", true, false))
}

func framesOfEverySize(name string) {
	publishing := confirming(here)
	declare(publishing, name, nil)
	small, err := amqp.DialConfig(urls[1], amqp.Config{FrameSize: 4096, ChannelMax: 7, Heartbeat: time.Second})
	must(err)
	check([]any{4096, 7, time.Second}, []any{small.Config.FrameSize, int(small.Config.ChannelMax), small.Config.Heartbeat})
	receiving := open(small)
	for _, size := range []int{0, 1, 4087, 4088, 4089, 131063, 131064, 131065, 2000000} {
		body := bytes.Repeat([]byte("z"), size)
		publish(publishing, "", name, amqp.Publishing{Body: body})
		message := get(receiving, name)
		check([]any{size, true}, []any{len(message.Body), bytes.Equal(body, message.Body)})
	}
	for n := 1; n < 7; n++ {
		open(small)
	}
	_, err = small.Channel()
	check(amqp.ErrChannelMax, err)
	must(small.Close())
	check(9, deleted(publishing, name))
}

func getNackAndReject(name string) {
	publishing := confirming(here)
	declare(publishing, name+"-dead", nil)
	declare(publishing, name, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name + "-dead"})
	publishNumbers(publishing, name, 3)
	channel := open(there)
	message := get(channel, name)
	check([]any{"0", false, uint32(2)}, []any{string(message.Body), message.Redelivered, message.MessageCount})
	must(message.Nack(false, true))
	message = get(channel, name)
	check([]any{"0", true}, []any{string(message.Body), message.Redelivered})
	must(channel.Recover(true))
	check(3, ready(publishing, name))
	must(get(channel, name).Reject(false))
	must(get(channel, name).Nack(false, false))
	must(get(channel, name).Ack(false))
	_, ok, err := channel.Get(name, true)
	check([]any{false, nil}, []any{ok, err})
	dead := <-consume(channel, name+"-dead", true)
	death := dead.Headers["x-death"].([]any)[0].(amqp.Table)
	check([]any{"rejected", name, "", int64(1)}, []any{death["reason"], death["queue"], death["exchange"], death["count"]})
	deleted(channel, name)
	deleted(channel, name+"-dead")
}

func temporaryQueues(name string) {
	owning := open(here)
	queue, err := owning.QueueDeclare("", false, false, true, false, nil)
	must(err)
	check(true, regexp.MustCompile(`^amq\.gen-[A-Za-z0-9_-]{22}$`).MatchString(queue.Name))
	must(owning.ExchangeDeclare(name, "fanout", false, true, false, false, nil))
	must(owning.QueueBind(queue.Name, "", name, false, nil))
	publish(confirming(there), name, "any", amqp.Publishing{Body: []byte("1")})
	check("1", string(get(owning, queue.Name).Body))
	locked := fmt.Sprintf("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s' in vhost '/'. It could be "+
		"originally declared on another connection or the exclusive property value does not match that of the original "+
		"declaration.", queue.Name)
	refused(there, 405, locked, func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclarePassive(queue.Name, false, false, false, false, nil)
		return err
	})
	must(owning.QueueUnbind(queue.Name, "", name, nil))
	refused(there, 404, fmt.Sprintf("NOT_FOUND - no exchange '%s' in vhost '/'", name), func(channel *amqp.Channel) error {
		return channel.ExchangeDeclarePassive(name, "fanout", false, true, false, false, nil)
	})
}

func exchangeToExchange(name string) {
	building := open(here)
	must(building.ExchangeDeclare(name+"-source", "headers", true, false, false, false, nil))
	must(building.ExchangeDeclare(name+"-target", "fanout", true, false, true, false, nil))
	match := amqp.Table{"x-match": "all", "kind": "report", "n": int64(1)}
	must(building.ExchangeBind(name+"-target", "", name+"-source", false, match))
	declare(building, name, nil)
	must(building.QueueBind(name, "", name+"-target", true, nil))
	check(0, ready(building, name)) // answered after the binding
	publishing := confirming(there)
	publish(publishing, name+"-source", "", amqp.Publishing{Headers: amqp.Table{"kind": "report", "n": int32(1)}})
	publish(publishing, name+"-source", "", amqp.Publishing{Headers: amqp.Table{"kind": "report"}})
	count, err := building.QueuePurge(name, false)
	check([]any{1, nil}, []any{count, err})
	must(building.ExchangeUnbind(name+"-target", "", name+"-source", false, match))
	must(building.ExchangeDelete(name+"-source", true, false))
	deleted(building, name)
	must(building.ExchangeDelete(name+"-target", true, false))
}

func returnsAndRefusals(name string) {
	publishing := confirming(here)
	returns := publishing.NotifyReturn(make(chan amqp.Return, 1))
	publish(publishing, "amq.direct", name, amqp.Publishing{MessageId: "m", Body: []byte("lost")})
	back := <-returns
	check([]any{uint16(312), "NO_ROUTE", "amq.direct", name, "m", "lost"},
		[]any{back.ReplyCode, back.ReplyText, back.Exchange, back.RoutingKey, back.MessageId, string(back.Body)})

	missing := fmt.Sprintf("NOT_FOUND - no queue '%s' in vhost '/'", name)
	refused(there, 404, missing, func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	refused(there, 404, fmt.Sprintf("NOT_FOUND - no exchange '%s' in vhost '/'", name), func(channel *amqp.Channel) error {
		return channel.PublishWithContext(ctx, name, "", false, false, amqp.Publishing{})
	})
	check(0, deleted(publishing, name))
	declare(publishing, name, amqp.Table{"x-max-length": 5})
	unequal := fmt.Sprintf("PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '%s' in vhost '/': received none "+
		"but current is the value '5' of type 'signedint'", name)
	refused(here, 406, unequal, func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare(name, true, false, false, false, nil)
		return err
	})
	refused(there, 406, "PRECONDITION_FAILED - unknown delivery tag 99", func(channel *amqp.Channel) error {
		return channel.Ack(99, false)
	})
	consuming := open(there)
	inbox := consume(consuming, name, false)
	cancelled := consuming.NotifyCancel(make(chan string, 1))
	refused(here, 406, fmt.Sprintf("PRECONDITION_FAILED - queue '%s' in vhost '/' in use", name),
		func(channel *amqp.Channel) error {
			_, err := channel.QueueDelete(name, true, false, false)
			return err
		})
	deleted(publishing, name)
	check("tag", <-cancelled)
	_, more := <-inbox
	check(false, more)
}

func refusedConnections(name string) {
	_, err := amqp.Dial(strings.Replace(urls[0], "guest:guest", "guest:wrong", 1))
	check(true, errors.Is(err, amqp.ErrCredentials))
	_, err = amqp.DialConfig(urls[0], amqp.Config{SASL: []amqp.Authentication{&amqp.AMQPlainAuth{Username: "nobody"}}})
	check(true, errors.Is(err, amqp.ErrCredentials))
	// Older versions know one error for it, later ones pass on what the broker says.
	_, err = amqp.DialConfig(urls[0], amqp.Config{Vhost: name})
	said := &amqp.Error{Code: 530, Reason: fmt.Sprintf("NOT_ALLOWED - vhost %s not found", name), Server: true}
	check(true, errors.Is(err, amqp.ErrVhost) || reflect.DeepEqual(err, said))
	must(here.UpdateSecret("secret", "renewal"))
	refused(here, 540, "NOT_IMPLEMENTED - immediate=true", func(channel *amqp.Channel) error {
		return channel.PublishWithContext(ctx, "", name, false, true, amqp.Publishing{})
	})
	check(true, here.IsClosed())
	here = dial(urls[0])
}

func transactions(name string) {
	channel := open(here)
	declare(channel, name, nil)
	must(channel.Tx())
	must(channel.PublishWithContext(ctx, "", name, false, false, amqp.Publishing{Body: []byte("0")}))
	must(channel.TxRollback())
	must(channel.PublishWithContext(ctx, "", name, false, false, amqp.Publishing{Body: []byte("1")}))
	other := open(there)
	check(0, ready(other, name))
	must(channel.TxCommit())
	check(1, ready(other, name))
	must(get(channel, name).Ack(false))
	must(channel.TxCommit())
	check(0, deleted(other, name))
}

func callsProcedures(name string) {
	serving := open(here)
	declare(serving, name, nil)
	requests := consume(serving, name, false)
	go func() {
		for request := range requests {
			n, err := strconv.Atoi(string(request.Body))
			must(err)
			answer := amqp.Publishing{CorrelationId: request.CorrelationId, Body: []byte(strconv.Itoa(n * n))}
			must(serving.PublishWithContext(ctx, "", request.ReplyTo, false, false, answer))
			must(request.Ack(false))
		}
	}()
	calling := open(there)
	answers := consume(calling, replyTo, true)
	for n := 0; n < 20; n++ {
		request := amqp.Publishing{ReplyTo: replyTo, CorrelationId: "c" + strconv.Itoa(n), Body: []byte(strconv.Itoa(n))}
		must(calling.PublishWithContext(ctx, "", name, false, false, request))
	}
	for n := 0; n < 20; n++ {
		answer := <-answers
		check([]any{"c" + strconv.Itoa(n), strconv.Itoa(n * n)}, []any{answer.CorrelationId, string(answer.Body)})
	}
	deleted(calling, name)
}

// recoverNode loses its node, comes back, and says what it sees, one line each.
func recoverNode(url, name string) {
	for over := false; !over; {
		connection, err := amqp.Dial(url)
		if err != nil {
			time.Sleep(retry)
			continue
		}
		over = consumeUntilLast(connection, name)
	}
}

// consumeUntilLast is false when the connection was lost before.
func consumeUntilLast(connection *amqp.Connection, name string) bool {
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	channel := open(connection)
	must(channel.Qos(10, 0, false))
	declare(channel, name, nil)
	inbox := consume(channel, name, false)
	fmt.Println("ready")
	for message := range inbox {
		fmt.Printf("got %s %t\n", message.Body, message.Redelivered)
		if message.Ack(false) == nil && string(message.Body) == "last" {
			must(connection.Close())
			return true
		}
	}
	<-closed
	fmt.Println("disconnected")
	return false
}

func main() {
	if os.Args[1] == "recover" {
		recoverNode(os.Args[2], os.Args[3])
		return
	}
	urls = os.Args[2:4]
	here, there = dial(urls[0]), dial(urls[1])
	map[string]func(string){
		"publish_and_consume": publishAndConsume, "frames_of_every_size": framesOfEverySize,
		"get_nack_and_reject": getNackAndReject, "temporary_queues": temporaryQueues,
		"exchange_to_exchange": exchangeToExchange, "returns_and_refusals": returnsAndRefusals,
		"refused_connections": refusedConnections, "transactions": transactions, "calls_procedures": callsProcedures,
	}[os.Args[1]](os.Args[4])
	must(here.Close())
	must(there.Close())
}
