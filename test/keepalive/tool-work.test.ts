import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { KnownProcess } from '#runtime/process-life.ts'
import { type ProcessStat, processStart, ticksSinceStart } from '#runtime/process-stat.ts'
import { readProcesses } from '#runtime/work-signs.ts'
import { ToolWork } from '../../services/keepalive/tool-work.ts'
import { ManualClock } from '../manual-clock.ts'
import { until } from '../until.ts'

const CLIENT: KnownProcess = { pid: 10, startTicks: '100' }

/** A client and its processes as the test says, ten seconds after it began. */
function scene() {
  const clock = new ManualClock()
  const all = new Map<number, ProcessStat>()
  let reads = 0
  const put = (pid: number, fields: Partial<ProcessStat> = {}): void => {
    const known = all.get(pid) ?? {
      state: 'S',
      parent: 10,
      group: pid,
      session: 1,
      ticks: 0,
      startedAt: '1100',
      exitStatus: 0,
    }
    all.set(pid, { ...known, ...fields })
  }
  put(10, { parent: 1, startedAt: '100' })
  put(11, { startedAt: '110', ticks: 5 }) // a server that the client started first
  const work = new ToolWork({
    clock,
    processes: async () => {
      reads += 1
      return all
    },
    ticksNow: () => 1_100,
  })
  const look = async (): Promise<string[]> => {
    await clock.advance(15_000)
    return await work.look(() => CLIENT)
  }
  return { all, put, work, look, reads: () => reads }
}

test('a tool that takes processor time works, and one that waits does not', async () => {
  const { put, work, look } = scene()
  work.hear('one', 'tool_begun', 0)
  put(20)
  assert.deepEqual(await look(), [], 'one look compares nothing')
  put(20, { ticks: 300 })
  assert.deepEqual(await look(), ['one'])
  assert.deepEqual(await look(), [])
  put(21, { parent: 20 })
  assert.deepEqual(await look(), ['one'], 'it began another command')
  work.hear('one', 'tool_ended', 0)
  put(20, { ticks: 900 })
  assert.deepEqual(await look(), [])
})

test('neither the client nor what it started before the tool shows that the tool works', async () => {
  const { put, work, look } = scene()
  work.hear('one', 'tool_begun', 0)
  put(20)
  for (let ticks = 500; ticks < 2_500; ticks += 500) {
    put(10, { ticks })
    put(11, { ticks })
    put(1_000 + ticks, { parent: 11 })
    assert.deepEqual(await look(), [])
  }
})

test('nobody waits for the tool of a client that is stopped, ended or another by now', async () => {
  const { put, work, look } = scene()
  work.hear('one', 'tool_begun', 0)
  put(20)
  await look()
  for (const fields of [{ state: 'T' }, { startedAt: '999' }]) {
    put(10, { state: 'S', startedAt: '100', ...fields })
    put(20, { ticks: 500 })
    assert.deepEqual(await look(), [])
  }
})

test('of two tools at once the second still runs, and a turn that ends leaves none', async () => {
  const { put, work, look, reads } = scene()
  for (const kind of ['tool_begun', 'tool_begun', 'tool_ended'] as const) work.hear('one', kind, 0)
  put(20)
  await look()
  put(20, { ticks: 500 })
  assert.deepEqual(await look(), ['one'])
  work.hear('one', 'turn_ended', 0)
  const before = reads()
  await look()
  assert.equal(reads(), before, 'nothing is read while no tool runs')
})

const skip = existsSync('/proc/self/stat') ? false : 'there is no /proc'

/** A process that starts what it is told, as a client does. */
async function client(t: TestContext): Promise<{ readonly child: ChildProcess; readonly known: KnownProcess }> {
  const child = spawn('sh', ['-c', 'while read -r line; do sh -c "$line; :" & done'], { detached: true })
  t.after(() => process.kill(-(child.pid ?? 0), 'SIGKILL'))
  const pid = child.pid ?? 0
  await until('it runs', () => processStart(pid) !== null)
  return { child, known: { pid, startTicks: processStart(pid) ?? '' } }
}

test('a real command that computes works, and one that sleeps or is stopped does not', { skip }, async (t) => {
  const clock = new ManualClock()
  const { child, known } = await client(t)
  child.stdin?.write('while :; do :; done\n') // a server of the client that is always busy
  await sleep(300)
  const work = new ToolWork({ clock, processes: readProcesses, ticksNow: ticksSinceStart })
  const look = async (): Promise<string[]> => {
    await sleep(300)
    await clock.advance(15_000)
    return await work.look(() => known)
  }
  work.hear('one', 'tool_begun', 0)
  child.stdin?.write('sleep 1000\n')
  await until('it sleeps', async () => (await look()).length === 0 && (await look()).length === 0)
  for (let times = 0; times < 3; times += 1) assert.deepEqual(await look(), [])
  child.stdin?.write('while :; do :; done\n')
  await until('it computes', async () => (await look()).length === 1)
  process.kill(known.pid, 'SIGSTOP')
  await look()
  assert.deepEqual(await look(), [])
})
