// Asks Istio's own schema and validators about documents: a JSON list of {name, yaml} in, of {name, refusal} out. Built
// inside a checkout of Istio by ../judge.ts.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	schemas "istio.io/istio/pkg/config/crd"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
)

type question struct {
	Name string `json:"name"`
	Yaml string `json:"yaml"`
}

type answer struct {
	Name string `json:"name"`
	// Empty when Istio takes it.
	Refusal string `json:"refusal"`
}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(schemaFile, questionFile, answerFile string) error {
	validator, err := schemas.NewValidatorFromFiles(schemaFile)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(questionFile)
	if err != nil {
		return err
	}
	var questions []question
	if err := json.Unmarshal(text, &questions); err != nil {
		return err
	}
	answers := make([]answer, 0, len(questions))
	for _, each := range questions {
		refusal := ""
		if err := judge(validator, each.Yaml); err != nil {
			refusal = err.Error()
		}
		answers = append(answers, answer{Name: each.Name, Refusal: refusal})
	}
	text, err = json.Marshal(answers)
	if err != nil {
		return err
	}
	return os.WriteFile(answerFile, text, 0o600)
}

func judge(validator *schemas.Validator, document string) error {
	text, err := yaml.YAMLToJSONStrict([]byte(document))
	if err != nil {
		return err
	}
	// As the API server reads it, so that whole numbers stay whole.
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return err
	}
	if err := validator.ValidateCustomResource(object); err != nil {
		return err
	}
	kind := crd.IstioKind{}
	if err := json.Unmarshal(text, &kind); err != nil {
		return err
	}
	gvk := kind.GroupVersionKind()
	schema, known := collections.PilotGatewayAPI().FindByGroupVersionAliasesKind(resource.FromKubernetesGVK(&gvk))
	if !known {
		return fmt.Errorf("unknown kind %v", gvk)
	}
	config, err := crd.ConvertObject(schema, &kind, "")
	if err != nil {
		return err
	}
	_, err = schema.ValidateConfig(*config)
	return err
}
