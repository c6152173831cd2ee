import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, test } from 'node:test'
import { parseBudget } from '#agents/budget.ts'
import { NO_USAGE } from '#fleet/usage.ts'
import { DaySpending } from '../../../services/worker/clients/day-spending.ts'
import { AgentBudget } from '../../../services/worker/clients/run-budget.ts'
import { aTask } from '../../tasks.ts'

const state = mkdtempSync(join(tmpdir(), 's2-spent-'))
after(() => rmSync(state, { recursive: true, force: true }))
const clock = { wall: () => now }
let now = Date.UTC(2026, 10, 30, 15)
const dollar = { ...NO_USAGE, costUsd: 1, turns: 1 }

test('what was used today outlives a restart, and not the day', async () => {
  const first = new DaySpending(state, clock, 'UTC')
  assert.deepEqual(first.today, NO_USAGE)
  await first.add(dollar)
  await first.add(dollar)
  assert.equal(new DaySpending(state, clock, 'UTC').today.costUsd, 2)
  assert.equal(first.endsAt, Date.UTC(2026, 11, 1))
  now += 9 * 3_600_000
  assert.deepEqual(first.today, NO_USAGE)
  await first.add(dollar)
  assert.equal(new DaySpending(state, clock, 'UTC').today.costUsd, 1)
  appendFileSync(join(state, 'agents', 'spent', 'turns.log'), '\n[]\n{"day":"2026-12-01"}\n{"day":\n')
  assert.equal(first.today.costUsd, 1, 'what is no line of ours counts for nothing')
  appendFileSync(join(state, 'agents', 'spent', 'turns.log'), '{"day":"2026-12-0')
  await first.add(dollar)
  assert.equal(first.today.costUsd, 2, 'a line that was cut short spoils none after it')
})

test('all that agents of one host use at once counts, for each of them', async () => {
  const place = join(state, 'shared')
  const script = `
    import { DaySpending } from '${resolve('services/worker/clients/day-spending.ts')}'
    const spending = new DaySpending(${JSON.stringify(place)}, { wall: () => ${now} }, 'UTC')
    process.stdin.once('data', async () => {
      for (let turn = 0; turn < 20; turn += 1) await spending.add(${JSON.stringify(dollar)})
      process.stdin.destroy()
    })
    console.log('ready')`
  const here = new DaySpending(place, clock, 'UTC')
  const agents = [1, 2].map(() =>
    spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  await Promise.all(agents.map((agent) => once(agent.stdout, 'data')))
  const ends = agents.map((agent) => once(agent, 'close'))
  for (const agent of agents) agent.stdin.write('go')
  for (const [code] of await Promise.all(ends)) assert.equal(code, 0)
  assert.deepEqual([here.today.costUsd, here.today.turns], [40, 40])
})

test('an agent whose day is spent waits until the next one, and works then', async () => {
  const spending = new DaySpending(join(state, 'other'), clock, 'UTC')
  const budget = new AgentBudget({ task: null, day: parseBudget('2 USD') }, spending)
  assert.equal(budget.fault(), null)
  await budget.note(dollar)
  assert.equal(budget.of(aTask()).dollars, 1)
  await budget.note(dollar)
  const fault = budget.fault()
  const why = 'the budget of the day is used up: 2.00 of 2 USD'
  assert.deepEqual([fault?.state, fault?.why, fault?.until], ['parked', why, Date.UTC(2026, 11, 2)])
  assert.equal(fault?.look?.(), why)
  now += 24 * 3_600_000
  assert.equal(fault?.look?.(), null)
})

test('a run that reaches a budget has failed for the task’s, and goes back for the day’s', () => {
  const spending = new DaySpending(join(state, 'third'), clock, 'UTC')
  const both = { task: parseBudget('2 USD'), day: parseBudget('20 USD') }
  const used = aTask({ usage: { ...dollar, costUsd: 1.5 } })
  const run = new AgentBudget(both, spending).of(used)
  assert.deepEqual([run.dollars, run.isReached(NO_USAGE), run.isReached(dollar)], [0.5, false, true])
  const end = run.end(dollar)
  assert.deepEqual([end.tail, end.client], ['the budget of the task is used up: 2.50 of 2 USD', 'answered'])
  const day = new AgentBudget({ task: null, day: parseBudget('1 USD') }, spending).of(used).end(dollar)
  const why = 'the budget of the day is used up: 1.00 of 1 USD'
  assert.deepEqual(day.client, { state: 'parked', why, until: spending.endsAt })
})

test('what the disk does not take counts for this agent all the same', async () => {
  const place = join(state, 'full')
  mkdirSync(join(place, 'agents', 'spent', 'turns.log'), { recursive: true })
  const spending = new DaySpending(place, clock, 'UTC')
  await assert.rejects(spending.add(dollar))
  await assert.rejects(spending.add(dollar))
  assert.equal(spending.today.costUsd, 2)
  now += 24 * 3_600_000
  assert.deepEqual(spending.today, NO_USAGE)
})
