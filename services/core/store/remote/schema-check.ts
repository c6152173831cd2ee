import type { TSchema } from 'typebox'
import { Compile, type Validator } from 'typebox/schema'
import { textHead } from '#fleet/cut-text.ts'

const compiled = new WeakMap<TSchema, Validator>()

/** The compiled check of a schema, made when it is first needed: a command uses one verb, not thirty. */
export function checkOf(schema: TSchema): Validator {
  const known = compiled.get(schema)
  if (known !== undefined) return known
  const fresh: Validator = Compile(schema)
  compiled.set(schema, fresh)
  return fresh
}

/** What is wrong with a value, as a clause: where, and what is wanted there. */
export function schemaFaultOf(schema: TSchema, value: unknown): string {
  const [first] = checkOf(schema).Errors(value)[1]
  if (first === undefined) return 'is not what was wanted'
  const where = first.instancePath === '' ? 'it' : textHead(first.instancePath.slice(1).replaceAll('/', '.'), 100)
  return `${where}: ${first.message}`
}
