/** The check of what a model gives a tool. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FieldSchema, inputFault } from '#mcp/tool-input.ts'

function faultOf(field: FieldSchema, value: unknown): string | null {
  return inputFault({ type: 'object', properties: { it: field }, additionalProperties: false }, { it: value })
}

test('each kind of argument takes what it says, up to its bounds', () => {
  const cases: readonly (readonly [field: FieldSchema, fits: readonly unknown[], not: readonly unknown[]])[] = [
    [{ type: 'string' }, ['', 'x'.repeat(9_000)], [1, true, [], {}]],
    [{ type: 'string', minLength: 2, maxLength: 4 }, ['ab', 'abcd'], ['', 'a', 'abcde']],
    [{ type: 'string', minLength: 1 }, ['a'], ['']],
    [{ type: 'string', enum: ['a', 'b'] }, ['a', 'b'], ['c', 'ab', '']],
    [{ type: 'string', pattern: '^[a-z]+$' }, ['abc'], ['Abc', '']],
    [{ type: 'boolean' }, [true, false], ['true', 0, 1]],
    [{ type: 'integer' }, [0, -5, 1e9], [1.5, '1', Number.NaN, 1e300]],
    [{ type: 'integer', minimum: 1, maximum: 3 }, [1, 3], [0, 4]],
    [{ type: 'integer', minimum: 1 }, [1, 99], [0]],
    [{ type: 'integer', maximum: 3 }, [3, -9], [4]],
    [{ type: 'array' }, [[], [1, 'a']], ['a', { length: 1 }]],
    [{ type: 'array', minItems: 1, maxItems: 2 }, [[1], [1, 2]], [[], [1, 2, 3]]],
    [{ type: 'array', items: { type: 'integer', minimum: 1 } }, [[], [1, 2]], [[1, 0], ['1'], [null]]],
  ]
  for (const [field, fits, not] of cases) {
    for (const value of [...fits, null, undefined])
      assert.equal(faultOf(field, value), null, JSON.stringify([field, value]))
    for (const value of not)
      assert.match(faultOf(field, value) ?? '', /^the argument it /, JSON.stringify([field, value]))
  }
})

test('a fault says what would fit', () => {
  assert.equal(faultOf({ type: 'string', maxLength: 2 }, 'abc'), 'the argument it has 3 characters; 2 are allowed')
  assert.equal(faultOf({ type: 'string', pattern: '^a$' }, 'b'), 'the argument it must match ^a$')
  assert.equal(faultOf({ type: 'integer', minimum: 1 }, 0), 'the argument it must be at least 1')
  assert.equal(faultOf({ type: 'array', maxItems: 1 }, [1, 2]), 'the argument it has 2 entries; 1 are allowed')
})

test('arguments that nobody knows, and those that are missing, are named', () => {
  const schema = {
    type: 'object',
    properties: { one: { type: 'string' }, two: { type: 'boolean' } },
    required: ['one'],
    additionalProperties: false,
  } as const
  assert.equal(inputFault(schema, { one: 'x' }), null)
  assert.equal(inputFault(schema, { one: 'x', three: 1 }), 'there is no argument "three"; there is one, two')
  for (const one of [undefined, null]) assert.equal(inputFault(schema, { one }), 'the argument one is missing')
  const none = { type: 'object', properties: {}, additionalProperties: false } as const
  assert.equal(inputFault(none, { x: 1 }), 'there is no argument "x"; there are none')
})
