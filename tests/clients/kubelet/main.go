// Decodes a credential provider's response strictly, as kubelet does, and prints the result.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	v1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

func main() {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, v1.SchemeGroupVersion)
	scheme.AddKnownTypes(v1.SchemeGroupVersion, &v1.CredentialProviderRequest{}, &v1.CredentialProviderResponse{})
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(v1.SchemeGroupVersion)
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	object, kind, err := decoder.Decode(text, nil, nil)
	if err != nil {
		fail(err)
	}
	response, ok := object.(*v1.CredentialProviderResponse)
	if !ok {
		fail(fmt.Errorf("got %v, want CredentialProviderResponse", kind))
	}
	hosts := map[string]string{}
	for host, auth := range response.Auth {
		hosts[host] = auth.Username
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"cacheKeyType":  response.CacheKeyType,
		"cacheDuration": response.CacheDuration.Duration.String(),
		"auth":          hosts,
	})
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
