import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import jdk.jfr.Configuration;
import jdk.jfr.Recording;

/**
 * A Java program that can be profiled: it burns CPU, allocates and waits for a monitor, and
 * offers recordings of the JVM's own flight recorder over HTTP.
 *
 * <pre>java Main.java 127.0.0.1 6065</pre>
 */
public class Main {
    static final Object till = new Object();
    static volatile double sink;
    static volatile List<byte[]> kept;

    public static void main(String[] args) throws IOException {
        String host = args.length > 0 ? args[0] : "127.0.0.1";
        int port = args.length > 1 ? Integer.parseInt(args[1]) : 6065;
        HttpServer server = HttpServer.create(new InetSocketAddress(host, port), 16);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/debug/jfr", Main::record);
        server.start();
        System.out.println(server.getAddress().getAddress().getHostAddress() + ":" + server.getAddress().getPort());
        new Thread(Main::hold, "holder").start();
        new Thread(Main::queue, "waiter").start();
        while (true) {
            burn(Duration.ofMillis(5));
            kept = allocate();
            sleep(45);
        }
    }

    /** Answers GET /debug/jfr?seconds=10. Recordings may overlap: the JVM keeps them apart. */
    static void record(HttpExchange exchange) throws IOException {
        long seconds = 10;
        String query = exchange.getRequestURI().getQuery();
        for (String pair : (query == null ? "" : query).split("&")) {
            if (pair.startsWith("seconds=")) seconds = Long.parseLong(pair.substring(8));
        }
        int status = 200;
        byte[] body;
        Path file = Files.createTempFile("recording", ".jfr");
        try (Recording recording = new Recording(Configuration.getConfiguration("profile"))) {
            recording.start();
            Thread.sleep(seconds * 1000);
            recording.stop();
            recording.dump(file);
            body = Files.readAllBytes(file);
        } catch (Exception e) {
            status = 500;
            body = e.toString().getBytes(StandardCharsets.UTF_8);
        } finally {
            Files.delete(file);
        }
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    static void burn(Duration time) {
        double x = 0;
        for (long end = System.nanoTime() + time.toNanos(); System.nanoTime() < end; ) {
            for (int i = 1; i < 10_000; i++) x += Math.sqrt(i * x + 1);
        }
        sink = x;
    }

    static List<byte[]> allocate() {
        List<byte[]> list = new ArrayList<>();
        for (int i = 0; i < 100; i++) list.add(new byte[10_000]);
        return list;
    }

    /** Keeps the till for 40 ms at a time. */
    static void hold() {
        while (true) {
            synchronized (till) {
                sleep(40);
            }
            sleep(1);
        }
    }

    /** Waits for the till. */
    static void queue() {
        while (true) {
            synchronized (till) {
                sink += 1;
            }
        }
    }

    static void sleep(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
