import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/** Burns CPU, allocates, waits for a monitor and parks, for a while. */
public class Shop {
    static final Object till = new Object();
    static volatile double sink;
    static volatile List<byte[]> kept = new ArrayList<>();

    static void burnJava(long until) {
        double x = 0;
        while (System.nanoTime() < until) {
            for (int i = 1; i < 1000; i++) x += Math.sqrt(i * x + 1);
        }
        sink = x;
    }

    static void allocateJava(long until) {
        while (System.nanoTime() < until) {
            List<byte[]> list = new ArrayList<>();
            for (int i = 0; i < 100; i++) list.add(new byte[10_000]);
            kept = list;
        }
    }

    static void queueJava() {
        synchronized (till) {
            sink += 1;
        }
    }

    public static void main(String[] args) throws Exception {
        long until = System.nanoTime() + 1_500_000_000L;
        Thread holder = new Thread(() -> {
            while (System.nanoTime() < until) {
                synchronized (till) {
                    try { Thread.sleep(50); } catch (InterruptedException e) { return; }
                }
            }
        });
        Thread waiter = new Thread(() -> { while (System.nanoTime() < until) queueJava(); });
        Thread parker = new Thread(() -> { while (System.nanoTime() < until) LockSupport.parkNanos(till, 60_000_000L); });
        Thread allocator = new Thread(() -> allocateJava(until));
        for (Thread t : List.of(holder, waiter, parker, allocator)) t.start();
        burnJava(until);
        for (Thread t : List.of(holder, waiter, parker, allocator)) t.join();
    }
}
