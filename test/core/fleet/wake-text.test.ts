/** A wake is known by its name in any text. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { wakeHead, wakesIn } from '#fleet/wake-text.ts'

test('a text names the wakes that it holds, in its order, and nothing that merely looks like one', () => {
  const [one, two] = ['0123456789ab', 'fedcba987654']
  assert.deepEqual(wakesIn(`${wakeHead(one)}: 2 messages\n> ${wakeHead(two)}.`), [one, two])
  for (const text of ['', 'S2 wake', `S2 wake ${one}0`, `S2 wake ${one.toUpperCase()}`, `xS2 wake ${one}`])
    assert.deepEqual(wakesIn(text), [], text)
})
