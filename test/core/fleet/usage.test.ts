import assert from 'node:assert/strict'
import { test } from 'node:test'
import { usageText } from '#console/usage-text.ts'
import { costTotals } from '#fleet/cost-totals.ts'
import type { Attempt } from '#fleet/task.ts'
import { addUsage, cleanUsage, NO_USAGE, type Usage, usageBeyond } from '#fleet/usage.ts'
import { aTask } from '../../tasks.ts'

function used(inputTokens: number, costUsd: number | null = null): Usage {
  return { inputTokens, outputTokens: 1, cachedTokens: 0, costUsd, turns: 1 }
}

test('sums of costs have no noise, and one that nobody says is none', () => {
  assert.equal(addUsage(used(1, 0.1), used(1, 0.2)).costUsd, 0.3)
  assert.equal(addUsage(used(1), used(1)).costUsd, null)
  assert.equal(addUsage(used(1, 0.5), used(1)).costUsd, 0.5)
  assert.equal(addUsage(used(1), used(1, 0.5)).costUsd, 0.5)
  assert.deepEqual(usageBeyond(used(5, 0.3), used(7, 0.1)), { ...NO_USAGE, costUsd: 0.2 })
})

test('what a host says of it is brought into its bounds', () => {
  const odd = { inputTokens: 1.5, outputTokens: -3, cachedTokens: Number.NaN, costUsd: 1e12, turns: 1e30 }
  assert.deepEqual(cleanUsage(odd), {
    inputTokens: 2,
    outputTokens: 0,
    cachedTokens: 0,
    costUsd: 1_000_000,
    turns: Number.MAX_SAFE_INTEGER,
  })
})

test('totals go by agent, day and role; starts that are forgotten count for the last holder', () => {
  const attempt = (holder: string, endedAt: number, usage?: Usage): Attempt => ({
    ...{ epoch: 1, holder: `${holder}/b`, startedAt: 0, end: 'sick', endedAt, note: '' },
    ...(usage === undefined ? {} : { usage }),
  })
  const one = aTask({
    id: 'one',
    role: 'tests',
    holder: 'b/b',
    updatedAt: 2,
    attempts: [attempt('a', 1, used(10, 0.5)), attempt('b', 2, used(20, 2)), attempt('b', 2)],
    usage: { ...used(35, 2.6), outputTokens: 2, turns: 2 },
  })
  const two = aTask({ id: 'two', role: null, attempts: [attempt('a', 2, used(1))], usage: used(1) })
  const totals = (by: 'agent' | 'day' | 'role') =>
    costTotals([one, two, aTask()], by, (session) => session.slice(0, 1), String).map(({ name, tasks, usage }) => [
      ...[name, tasks, usage.inputTokens, usage.costUsd],
    ])
  assert.deepEqual(totals('agent'), [
    ['b', 1, 25, 2.1],
    ['a', 2, 11, 0.5],
  ])
  assert.deepEqual(totals('day'), [
    ['1', 1, 10, 0.5],
    ['2', 2, 26, 2.1],
  ])
  assert.deepEqual(totals('role'), [
    ['tests', 1, 35, 2.6],
    ['any', 1, 1, null],
  ])
})

test('people read it in one line', () => {
  const usage = { inputTokens: 1_234_567, cachedTokens: 900_000, outputTokens: 4_500, costUsd: 1.2, turns: 1 }
  assert.equal(usageText(usage), '1.2M tokens in (900k cached), 4500 out, 1 turn, $ 1.20')
  assert.equal(usageText(used(12_345)), '12k tokens in, 1 out, 1 turn, its cost is not said')
  assert.equal(usageText(used(1, 0.0001)), '1 tokens in, 1 out, 1 turn, $ 0.0001')
})
