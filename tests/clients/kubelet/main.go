// Decodes what kubelet reads of a credential provider, its response and its configuration, as strictly as kubelet does.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	config "k8s.io/kubelet/config/v1"
	v1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

func main() {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, v1.SchemeGroupVersion)
	scheme.AddKnownTypes(v1.SchemeGroupVersion, &v1.CredentialProviderRequest{}, &v1.CredentialProviderResponse{})
	if err := config.AddToScheme(scheme); err != nil {
		fail(err)
	}
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	decoder := codecs.UniversalDecoder(v1.SchemeGroupVersion, config.SchemeGroupVersion)
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	object, kind, err := decoder.Decode(text, nil, nil)
	if err != nil {
		fail(err)
	}
	switch decoded := object.(type) {
	case *v1.CredentialProviderResponse:
		printJSON(summary(decoded))
	case *config.CredentialProviderConfig:
		printJSON(decoded)
	default:
		fail(fmt.Errorf("got %v, want CredentialProviderResponse or CredentialProviderConfig", kind))
	}
}

// summary has no passwords.
func summary(response *v1.CredentialProviderResponse) map[string]any {
	hosts := map[string]string{}
	for host, auth := range response.Auth {
		hosts[host] = auth.Username
	}
	return map[string]any{
		"cacheKeyType":  response.CacheKeyType,
		"cacheDuration": response.CacheDuration.Duration.String(),
		"auth":          hosts,
	}
}

func printJSON(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
