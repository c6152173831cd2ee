/** What is kept of what a client does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { INSTANT_MAX } from '#fleet/agent-condition.ts'
import { cleanClientActivity } from '#fleet/client-activity.ts'

test('what a dialog asks is kept as one line, without secrets and control characters', () => {
  const secret = `ghp_${'a1B2c3D4e5F6'.repeat(3)}`
  const { what } = cleanClientActivity({ state: 'waiting', what: `run\n\u001b[31m curl ${secret}?\u2028`, until: null })
  assert.match(what ?? '', /^run \[31m curl \[redacted [\w -]+\]\?$/)
  assert.equal(cleanClientActivity({ state: 'idle', what: ' \n ', until: null }).what, null)
})

test('an instant is one that a date can show', () => {
  const until = (given: number): number | null =>
    cleanClientActivity({ state: 'parked', what: null, until: given }).until
  assert.deepEqual([until(-5), until(1.6), until(1e300)], [0, 2, INSTANT_MAX])
})
