// Prints where Kafka's Java producer puts 10,000 keys among 1,000 partitions: the SHA-256 over the
// partitions in order, each in decimal with a line end. tests/unit/common/base/partitioner_test.cc holds
// what it printed, and makes the same keys.
//
//   python3 -c 'import sys; sys.path.insert(0, "tests/kafka"); import jars; print(jars.ready())'
//   java -cp 'build/kafka/lib/*' tests/kafka/Murmur2.java

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

public class Murmur2 {
  private static final int KEYS = 10_000;
  private static final int PARTITIONS = 1_000;

  // xorshift64 (Marsaglia 2003).
  private static long state = 88172645463325252L;

  private static long next() {
    state ^= state << 13;
    state ^= state >>> 7;
    state ^= state << 17;
    return state;
  }

  // Length 0 to 64, then its bytes.
  private static byte[] key() {
    byte[] key = new byte[(int) Long.remainderUnsigned(next(), 65)];
    for (int i = 0; i < key.length; i++) {
      key[i] = (byte) (next() >>> 56);
    }
    return key;
  }

  public static void main(String[] arguments) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    for (int i = 0; i < KEYS; i++) {
      int partition = BuiltInPartitioner.partitionForKey(key(), PARTITIONS);
      digest.update((partition + "\n").getBytes(StandardCharsets.US_ASCII));
    }
    System.out.println(HexFormat.of().formatHex(digest.digest()));
  }
}
