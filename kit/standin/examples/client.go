// A test client for the stand-in, in Go with github.com/gorilla/websocket. Run: go run client.go ws://127.0.0.1:8765/v1/realtime
// With `kit serve --tls`: SSL_CERT_FILE=CA.pem go run client.go wss://…
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/gorilla/websocket"
)

type object = map[string]any

func main() {
	socket, _, err := websocket.DefaultDialer.Dial(os.Args[1]+"?model=gpt-realtime&trial=go-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Close()
	part := object{"type": "input_text", "text": "Good morning!"}
	item := object{"type": "message", "role": "user", "content": []object{part}}
	socket.WriteJSON(object{"type": "conversation.item.create", "item": item})
	socket.WriteJSON(object{"type": "response.create"})
	for {
		_, frame, err := socket.ReadMessage()
		if err != nil {
			log.Fatal(err)
		}
		var event struct {
			Type     string
			Error    json.RawMessage
			Response struct {
				Output []struct {
					Content []struct{ Transcript, Text string }
				}
			}
		}
		if err := json.Unmarshal(frame, &event); err != nil {
			log.Fatal(err)
		}
		switch event.Type {
		case "error":
			log.Fatal(string(event.Error))
		case "response.done":
			said := event.Response.Output[0].Content[0]
			fmt.Println(said.Transcript + said.Text) // one of them is empty: it was spoken, or written
			return
		}
	}
}
