package config

import (
	"strings"
)

// Schema returns a JSON Schema (draft 2020-12) of the files of serve and connect; for an editor, say.
func Schema() map[string]any {
	return map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "tunnel: serve.yaml or connect.yaml",
		"anyOf":   []any{reference("serve"), reference("connect")},
		"$defs": map[string]any{
			"serve":   schemaOf(DefaultServe().Settings()),
			"connect": schemaOf(DefaultConnect().Settings()),
		},
	}
}

// SchemaOf returns the JSON Schema of one command's file.
func SchemaOf(command string, settings []*Setting) map[string]any {
	schema := schemaOf(settings)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "tunnel: " + command + ".yaml"
	return schema
}

func reference(name string) any { return map[string]any{"$ref": "#/$defs/" + name} }

func schemaOf(settings []*Setting) map[string]any {
	properties := map[string]any{}
	for _, s := range settings {
		if !s.FlagOnly {
			properties[s.Name] = s.schema()
		}
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func (s *Setting) schema() map[string]any {
	schema := map[string]any{"description": strings.ReplaceAll(s.Usage, "`", "")}
	switch s.Kind() {
	case List:
		schema["type"] = []any{"string", "array"}
		schema["items"] = map[string]any{"type": "string"}
	default:
		schema["type"] = string(s.Kind())
	}
	if s.orNumber() {
		schema["type"] = []any{"string", "integer"}
	}
	if text := s.value.texts(); s.Kind() == Text && len(text) == 1 && text[0] != "" {
		schema["default"] = text[0]
	}
	return schema
}
