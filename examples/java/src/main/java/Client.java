// Requests credentials from a broker: with a deadline, retries and round robin, also over a Unix socket.
//
//     java -cp … Client TARGET SECONDS REGISTRY...
//
// TARGET is unix:/run/ecr-broker/broker.sock, or dns:///broker.example:50051 for several brokers.

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.RetryInfo;
import ecrbroker.v1.GetRegistryCredentialsRequest;
import ecrbroker.v1.RegistryCredentials;
import ecrbroker.v1.RegistryCredentialsServiceGrpc;
import ecrbroker.v1.RegistryCredentialsServiceGrpc.RegistryCredentialsServiceBlockingStub;
import io.grpc.Deadline;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.TimeUnit;

class Client {
  /** Beyond loopback the credentials are {@code TlsChannelCredentials}. */
  static ManagedChannel connect(String target) {
    return Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).defaultLoadBalancingPolicy("round_robin").build();
  }

  static RegistryCredentials credentials(RegistryCredentialsServiceBlockingStub broker, String registry, Deadline deadline)
      throws InterruptedException, InvalidProtocolBufferException {
    var request = GetRegistryCredentialsRequest.newBuilder().setRegistry(registry).build();
    while (true) {
      try {
        return broker.withDeadline(deadline).withWaitForReady().getRegistryCredentials(request).getCredentials();
      } catch (StatusRuntimeException error) {
        var delay = retryDelay(error);
        if (delay < 0 || delay > deadline.timeRemaining(TimeUnit.MILLISECONDS)) throw error;
        Thread.sleep(delay);
      }
    }
  }

  /** Returns the milliseconds before a retry, or -1 if none can help. A lost connection has no RetryInfo. */
  static long retryDelay(StatusRuntimeException error) throws InvalidProtocolBufferException {
    for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (!detail.is(RetryInfo.class)) continue;
      var delay = detail.unpack(RetryInfo.class).getRetryDelay();
      return delay.getSeconds() * 1000 + delay.getNanos() / 1_000_000 + 1;
    }
    return error.getStatus().getCode() == Status.Code.UNAVAILABLE ? 200 : -1;
  }

  public static void main(String[] arguments) throws Exception {
    var channel = connect(arguments[0]);
    var broker = RegistryCredentialsServiceGrpc.newBlockingStub(channel);
    for (var registry : List.of(arguments).subList(2, arguments.length)) {
      var credentials = credentials(broker, registry, Deadline.after(Long.parseLong(arguments[1]), TimeUnit.SECONDS));
      var expires = Instant.ofEpochSecond(credentials.getExpireTime().getSeconds());
      System.out.println(credentials.getRegistry() + " " + credentials.getUsername() + " until " + expires);
    }
    channel.shutdown();
  }
}
