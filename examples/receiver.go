// A receiver in Go's standard library: verifies each webhook, and ignores repetitions.
//
//	mkdir webhook && cp ../src/page/verify/verify.go webhook/
//	go mod init receiver && WEBHOOK_SECRET=whsec_... go run receiver.go
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"receiver/webhook"
)

type event struct {
	Event     string          `json:"event"`
	WebhookID string          `json:"webhook_id"`
	Data      json.RawMessage `json:"data"`
}

// process is your work. It may take long: then store the event here, and do the work elsewhere.
func process(received event) {
	fmt.Println(received.Event, string(received.Data))
}

func main() {
	secret, processed, port := os.Getenv("WEBHOOK_SECRET"), "processed", "9000"
	if secret == "" {
		log.Fatal("WEBHOOK_SECRET is not set")
	}
	if given := os.Getenv("PROCESSED"); given != "" {
		processed = given
	}
	if given := os.Getenv("PORT"); given != "" {
		port = given
	}
	if err := os.MkdirAll(processed, 0o755); err != nil {
		log.Fatal(err)
	}
	handler := func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, 1<<20))
		if err == nil {
			err = webhook.Verify(secret, request.Header, body)
		}
		var received event
		if err == nil {
			err = json.Unmarshal(body, &received)
		}
		if err != nil {
			http.Error(response, err.Error(), http.StatusUnauthorized)
			return
		}
		// A webhook can come again. With a database, insert its id into a table with a unique key, in
		// the transaction that does the work.
		mark := filepath.Join(processed, filepath.Base(received.WebhookID))
		if _, err := os.Stat(mark); err != nil {
			process(received)
			if err := os.WriteFile(mark, nil, 0o644); err != nil {
				http.Error(response, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		response.WriteHeader(http.StatusNoContent)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(handler)))
}
