import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Budgets, budgetText, dollarsLeft, parseBudget, reachedBudget, spentText } from '#agents/budget.ts'
import { NO_USAGE, type Usage } from '#fleet/usage.ts'

const usd = (costUsd: number | null): Usage => ({ ...NO_USAGE, costUsd })
const tokens = (inputTokens: number, outputTokens = 0): Usage => ({ ...NO_USAGE, inputTokens, outputTokens })
const budgets = (task: string | null, day: string | null): Budgets => ({
  task: task === null ? null : parseBudget(task),
  day: day === null ? null : parseBudget(day),
})

test('a budget is one of dollars or of tokens, and nothing else', () => {
  assert.deepEqual(parseBudget('2 USD'), { most: 2, unit: 'usd' })
  assert.deepEqual(parseBudget(' 0.50USD '), { most: 0.5, unit: 'usd' })
  assert.deepEqual(parseBudget('500k tokens'), { most: 500_000, unit: 'tokens' })
  assert.deepEqual(parseBudget('1.5 M tokens'), { most: 1_500_000, unit: 'tokens' })
  for (const text of ['', '2', '2 EUR', '0 USD', '-1 USD', '2k USD', 'NaN USD', '1e9 tokens', '2 USD a day'])
    assert.throws(() => parseBudget(text), /is no budget, as 2 USD or 500k tokens is/, text)
  for (const text of ['2 USD', '500000 tokens']) assert.equal(budgetText(parseBudget(text)), text)
})

test('a budget is reached by as much as it is, the task’s first; what nobody said costs nothing', () => {
  const both = budgets('2 USD', '20 USD')
  assert.equal(reachedBudget(both, { task: usd(1.99), day: usd(19.99) }), null)
  assert.equal(reachedBudget(both, { task: usd(2), day: usd(20) }), 'task')
  assert.equal(reachedBudget(both, { task: usd(1), day: usd(20) }), 'day')
  assert.equal(reachedBudget(both, { task: usd(null), day: usd(null) }), null)
  assert.equal(reachedBudget(budgets('100 tokens', null), { task: tokens(60, 40), day: usd(0) }), 'task')
  assert.equal(reachedBudget(budgets(null, null), { task: usd(1e6), day: usd(1e6) }), null)
})

test('of two budgets in dollars the one that has fewer left counts', () => {
  const used = { task: usd(0.5), day: usd(19) }
  assert.deepEqual(dollarsLeft(budgets('2 USD', '20 USD'), used), { of: 'day', left: 1 })
  assert.deepEqual(dollarsLeft(budgets('1 USD', '20 USD'), used), { of: 'task', left: 0.5 })
  assert.deepEqual(dollarsLeft(budgets(null, '18 USD'), used), { of: 'day', left: 0 })
  assert.equal(dollarsLeft(budgets('5 tokens', null), used), null)
})

test('people read what was used of it', () => {
  assert.equal(spentText(parseBudget('2 USD'), usd(2.1)), '2.10 of 2 USD')
  assert.equal(spentText(parseBudget('500k tokens'), tokens(510_000)), '510000 of 500000 tokens')
})
