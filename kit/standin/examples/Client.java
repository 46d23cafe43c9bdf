// A test client for the stand-in, in Java 17 without a library. Run: java Client.java ws://127.0.0.1:8765/v1/realtime
// With `kit serve --tls`: keytool -importcert -noprompt -file CA.pem -keystore ca.jks -storepass changeit, and then
// java -Djavax.net.ssl.trustStore=ca.jks Client.java wss://…
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Client {
    public static void main(String[] args) throws Exception {
        CompletableFuture<String> done = new CompletableFuture<>();
        WebSocket.Listener listener = new WebSocket.Listener() {
            final StringBuilder frame = new StringBuilder();

            public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
                frame.append(data);
                if (last) {
                    if (frame.indexOf("{\"type\":\"response.done\"") == 0) done.complete(frame.toString());
                    if (frame.indexOf("{\"type\":\"error\"") == 0) done.completeExceptionally(new Exception(frame.toString()));
                    frame.setLength(0);
                }
                socket.request(1);
                return null;
            }
        };
        WebSocket socket = HttpClient.newHttpClient().newWebSocketBuilder()
            .buildAsync(URI.create(args[0] + "?model=gpt-realtime&trial=java-1"), listener).get(10, TimeUnit.SECONDS);
        String item = "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Good morning!\"}]}";
        socket.sendText("{\"type\":\"conversation.item.create\",\"item\":" + item + "}", true).get();
        socket.sendText("{\"type\":\"response.create\"}", true).get();
        Matcher words = Pattern.compile("\"transcript\":\"([^\"]*)\"").matcher(done.get(30, TimeUnit.SECONDS));
        System.out.println(words.find() ? words.group(1) : "a text");
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "").get();
    }
}
