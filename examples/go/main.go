// Client requests credentials from a broker: with a deadline, retries and round robin, also over a Unix socket.
//
//	go run . TARGET SECONDS REGISTRY...
//
// TARGET is unix:/run/ecr-broker/broker.sock, or dns:///broker.example:50051 for several brokers.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	pb "ecrbroker/v1"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{"name": [{"service": "ecrbroker.v1.RegistryCredentialsService"}], "waitForReady": true}]}`

// Beyond loopback the credentials are those of credentials.NewTLS.
func connect(target string) (*grpc.ClientConn, error) {
	plaintext := grpc.WithTransportCredentials(insecure.NewCredentials())
	return grpc.NewClient(target, plaintext, grpc.WithDefaultServiceConfig(serviceConfig))
}

func credentials(broker pb.RegistryCredentialsServiceClient, registry string, timeout time.Duration) (*pb.RegistryCredentials, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	request := &pb.GetRegistryCredentialsRequest{Target: &pb.GetRegistryCredentialsRequest_Registry{Registry: registry}}
	for {
		response, err := broker.GetRegistryCredentials(ctx, request)
		delay, retryable := retryDelay(err)
		if deadline, _ := ctx.Deadline(); !retryable || delay > time.Until(deadline) {
			return response.GetCredentials(), err
		}
		time.Sleep(delay)
	}
}

// Returns the delay before a retry, if one can help. A lost connection has no RetryInfo.
func retryDelay(err error) (time.Duration, bool) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration(), true
		}
	}
	return 200 * time.Millisecond, status.Code(err) == codes.Unavailable
}

func main() {
	channel, err := connect(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer channel.Close()
	timeout, err := time.ParseDuration(os.Args[2] + "s")
	if err != nil {
		log.Fatal(err)
	}
	broker := pb.NewRegistryCredentialsServiceClient(channel)
	for _, registry := range os.Args[3:] {
		found, err := credentials(broker, registry, timeout)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(found.Registry, found.Username, "until", found.ExpireTime.AsTime().Format(time.RFC3339))
	}
}
