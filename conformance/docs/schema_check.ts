/** Validates by the part of JSON Schema that `scripts/schema_json.ts` writes; a keyword that is not here throws. */

type Schema = Readonly<Record<string, unknown>>;

const annotations = ["$schema", "title", "description"];

/** @returns what is wrong, each with its path; empty for what the schema takes. */
export function schemaFaults(schema: Schema, value: unknown, path = ""): readonly string[] {
  const say = (what: string): readonly string[] => [`${path === "" ? "the document" : path} ${what}`];
  return Object.entries(schema).flatMap(([keyword, wanted]): readonly string[] => {
    switch (keyword) {
      case "type":
        return typesOf(value).includes(wanted as string) ? [] : say(`is no ${wanted}`);
      case "enum":
        return (wanted as readonly unknown[]).includes(value) ? [] : say(`is none of ${wanted}`);
      case "const":
        return value === wanted ? [] : say(`is not ${wanted}`);
      case "minimum":
        return typeof value === "number" && value < (wanted as number) ? say(`is below ${wanted}`) : [];
      case "maximum":
        return typeof value === "number" && value > (wanted as number) ? say(`is above ${wanted}`) : [];
      case "required":
        return isObject(value)
          ? (wanted as readonly string[])
              .filter((name) => !(name in value))
              .flatMap((name) => say(`lacks ${name}`))
          : [];
      case "properties":
        return isObject(value)
          ? Object.entries(wanted as Readonly<Record<string, Schema>>).flatMap(([name, inner]) =>
              name in value ? schemaFaults(inner, value[name], `${path}.${name}`) : [],
            )
          : [];
      case "additionalProperties":
        return isObject(value)
          ? Object.keys(value)
              .filter((name) => !(name in ((schema.properties as object | undefined) ?? {})))
              .flatMap((name) =>
                wanted === false
                  ? say(`has no ${name}`)
                  : schemaFaults(wanted as Schema, value[name], `${path}.${name}`),
              )
          : [];
      case "items":
        return Array.isArray(value)
          ? value.flatMap((item, index) => schemaFaults(wanted as Schema, item, `${path}[${index}]`))
          : [];
      case "anyOf": {
        const all = (wanted as readonly Schema[]).map((one) => schemaFaults(one, value, path));
        return all.some((faults) => faults.length === 0) ? [] : all.flat();
      }
      default:
        if (annotations.includes(keyword)) return [];
        throw new Error(`${keyword} is a keyword that this does not know`);
    }
  });
}

function typesOf(value: unknown): readonly string[] {
  if (value === null) return ["null"];
  if (Array.isArray(value)) return ["array"];
  if (typeof value === "number") return Number.isInteger(value) ? ["number", "integer"] : ["number"];
  return [typeof value];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
