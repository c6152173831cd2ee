/** The part of JSON Schema (2020-12) that the inputs of tools are described by, and the check against it. */

export interface InputSchema {
  readonly type: 'object'
  readonly properties: Readonly<Record<string, FieldSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties: false
}

export interface FieldSchema {
  readonly type: 'string' | 'integer' | 'array' | 'boolean'
  readonly description?: string
  readonly enum?: readonly string[]
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly items?: FieldSchema
}

/** What does not fit, as a sentence that says what would; null where all fits. */
export function inputFault(schema: InputSchema, input: Readonly<Record<string, unknown>>): string | null {
  const unknown = Object.keys(input).find((name) => !Object.hasOwn(schema.properties, name))
  if (unknown !== undefined) {
    const known = Object.keys(schema.properties).join(', ')
    return `there is no argument ${JSON.stringify(unknown.slice(0, 80))}; there ${known === '' ? 'are none' : `is ${known}`}`
  }
  const missing = schema.required?.find((name) => input[name] === undefined || input[name] === null)
  if (missing !== undefined) return `the argument ${missing} is missing`
  for (const [name, field] of Object.entries(schema.properties)) {
    const value = input[name]
    const fault = value === undefined || value === null ? null : fieldFault(field, value)
    if (fault !== null) return `the argument ${name} ${fault}`
  }
  return null
}

function fieldFault(field: FieldSchema, value: unknown): string | null {
  switch (field.type) {
    case 'string':
      return typeof value === 'string' ? textFault(field, value) : 'must be a string'
    case 'boolean':
      return typeof value === 'boolean' ? null : 'must be true or false'
    case 'integer':
      return numberFault(field, value)
    case 'array':
      return Array.isArray(value) ? itemsFault(field, value) : 'must be an array'
  }
}

function textFault(
  { enum: words, minLength = 0, maxLength = Number.POSITIVE_INFINITY, pattern }: FieldSchema,
  text: string,
) {
  if (words !== undefined && !words.includes(text)) return `must be one of ${words.join(', ')}`
  if (text.length < minLength) return 'must not be empty'
  if (text.length > maxLength) return `has ${text.length} characters; ${maxLength} are allowed`
  return pattern === undefined || new RegExp(pattern, 'u').test(text) ? null : `must match ${pattern}`
}

function numberFault({ minimum, maximum }: FieldSchema, value: unknown): string | null {
  if (!Number.isSafeInteger(value)) return 'must be a whole number'
  const number = value as number
  if (minimum !== undefined && number < minimum) return `must be at least ${minimum}`
  return maximum !== undefined && number > maximum ? `must be at most ${maximum}` : null
}

function itemsFault({ items, minItems = 0, maxItems = Number.POSITIVE_INFINITY }: FieldSchema, values: unknown[]) {
  if (values.length < minItems) return `has ${values.length} entries; at least ${minItems} are needed`
  if (values.length > maxItems) return `has ${values.length} entries; ${maxItems} are allowed`
  const faults = items === undefined ? [] : values.map((each) => fieldFault(items, each))
  const fault = faults.find((each) => each !== null)
  return fault === undefined ? null : `has an entry that ${fault}`
}
