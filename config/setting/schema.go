package setting

import (
	"strings"
)

// Schema returns the JSON Schema of a file with these settings, without its version and title.
func Schema(settings []*Setting) map[string]any {
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
	if s.OrNumber {
		schema["type"] = []any{"string", "integer"}
	}
	if s.Reload != Restart {
		schema["x-reload"] = string(s.Reload)
	}
	if text := s.Value.Texts(); s.Kind() == Text && len(text) == 1 && text[0] != "" {
		schema["default"] = text[0]
	}
	return schema
}
