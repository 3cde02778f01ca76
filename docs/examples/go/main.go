// Sends a message to some customers and waits until every touch has ended.
//
//	go run . 127.0.0.1:7600 CORP MEMBER CUSTOMER...
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	pb "example/tidegate/dispatch/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	corp, member, customers := os.Args[2], os.Args[3], os.Args[4:]
	secure := grpc.WithTransportCredentials(insecure.NewCredentials())
	client := pb.NewDispatchServiceClient(must(grpc.NewClient(os.Args[1], secure)))
	run := fmt.Sprint(time.Now().UnixNano()) // keep it, to send again after a crash: the same keys send nothing twice
	batch := &pb.SendMessagesRequest{Corp: corp, Batch: 1, Contents: []*pb.MessageContent{{Content: &pb.ContentVariant{
		Text: "Hello", LinkUrl: "https://shop.example/spring", LinkTitle: "Spring"}}}}
	for _, customer := range customers {
		batch.Messages = append(batch.Messages, &pb.Message{Key: run + ":" + customer, Customer: customer, Sender: member})
	}
	stream := must(client.SendMessages(context.Background()))
	if err := stream.Send(batch); err != nil {
		log.Fatal(err)
	}
	answer := must(stream.Recv())
	fmt.Println(answer.Acknowledged, "acknowledged", answer.Faults)
	watch := must(client.WatchTouches(context.Background(), &pb.WatchTouchesRequest{Corp: corp, KeyPrefix: run + ":"}))
	for open := int(answer.Acknowledged); open > 0; {
		for _, change := range must(watch.Recv()).Changes {
			fmt.Println(strings.Split(change.Key, ":")[1], change.State, change.Reason)
			if change.State >= pb.TouchState_TOUCH_STATE_SENT {
				open--
			}
		}
	}
}
