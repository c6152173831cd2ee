import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type WaitBounds, waiterCommand } from '#agents/wake/hook-waiter.ts'
import { rewakeWaiter, waiterPipe } from '#agents/wake/rewake-waiter.ts'
import { systemClock } from '#runtime/clock.ts'
import { sampleSession } from '../core/agents/sample-session.ts'
import { until } from '../until.ts'

const base = mkdtempSync(join(tmpdir(), 's2-hook-wait-'))
after(() => rmSync(base, { recursive: true, force: true }))
const signal = AbortSignal.timeout(120_000)
const TEXT = 'S2 wake 0123456789ab: 1 unread message. It says "$(id)".'
const session = sampleSession()

class Waiter {
  readonly ended: Promise<{ readonly code: number | null; readonly err: string }>
  readonly child: ChildProcessWithoutNullStreams

  /** Runs `s2 hook wait` as Claude Code does at the end of a turn. */
  constructor(state: string, t: TestContext, entry = 'cli') {
    const input = JSON.stringify({ session_id: session.id, hook_event_name: 'Stop', cwd: '/tmp' })
    const args = ['services/cli/main.ts', 'hook', 'wait', '--agent', 'claude', '--state', state]
    const env = { PATH: process.env.PATH, HOME: base, CLAUDE_CODE_ENTRYPOINT: entry }
    this.child = spawn(process.execPath, args, { env, detached: true })
    let err = ''
    this.child.stderr.on('data', (data) => {
      err += String(data)
    })
    this.ended = new Promise((resolve) => this.child.once('close', (code) => resolve({ code, err })))
    this.child.stdin.end(input)
    t.after(() => {
      if (this.child.exitCode === null && this.child.pid !== undefined) process.kill(-this.child.pid, 'SIGKILL')
    })
  }
}

function newState(name: string): string {
  const state = join(base, name)
  mkdirSync(state, { mode: 0o700 })
  return state
}

const waits = async (state: string): Promise<boolean> =>
  (await rewakeWaiter(state, systemClock).whyNot(session, signal)) === null

test('a hook that waits ends with the text of the wake and nothing else, and exit code 2', async (t) => {
  const state = newState('text')
  const waiter = new Waiter(state, t)
  await until('it waits', () => waits(state))
  assert.equal(await rewakeWaiter(state, systemClock).wake(session, TEXT, signal), 'sent')
  assert.deepEqual(await waiter.ended, { code: 2, err: `${TEXT}\n` })
  assert.equal(await waits(state), false)
})

test('nothing waits where Claude Code has no terminal: it would wait for its hooks', async (t) => {
  const state = newState('without')
  assert.deepEqual(await new Waiter(state, t, 'sdk-cli').ended, { code: 0, err: '' })
})

test('of several hooks of one session the last one waits', async (t) => {
  const state = newState('several')
  const first = new Waiter(state, t)
  await until('the first waits', () => waits(state))
  const second = new Waiter(state, t)
  assert.deepEqual(await first.ended, { code: 0, err: '' })
  await until('the second waits', () => waits(state))
  await rewakeWaiter(state, systemClock).wake(session, TEXT, signal)
  assert.equal((await second.ended).code, 2)
})

test('a waiting hook takes little memory', async (t) => {
  const state = newState('memory')
  const waiter = new Waiter(state, t)
  await until('it waits', () => waits(state))
  const status = readFileSync(`/proc/${waiter.child.pid}/status`, 'utf8')
  assert.match(status, /^Name:\s+(sh|dash|bash|busybox)$/m)
})

test('a pipe that was left over is cleared away, and one that is waited on is not', async (t) => {
  const state = newState('left')
  const waiter = new Waiter(state, t)
  await until('it waits', () => waits(state))
  const left = waiterPipe(state, { client: 'claude', id: 'left-over' })
  execFileSync('mkfifo', [left])
  const old = new Date('2020-01-01')
  for (const each of [left, waiterPipe(state, session)]) utimesSync(each, old, old)
  const other = new Waiter(state, t)
  await waiter.ended
  await until('the other waits', () => waits(state))
  assert.deepEqual(readdirSync(join(state, 'agents', 'waiters')), [`claude-${session.id}`])
  await rewakeWaiter(state, systemClock).wake(session, TEXT, signal)
  await other.ended
})

/** Waits as `s2 hook wait` does, by a clock that runs out soon. */
async function waitShortly(state: string, t: TestContext, bounds: WaitBounds) {
  const [program, ...args] = await waiterCommand(state, session, systemClock, bounds)
  const child = spawn(program, args, { detached: true, stdio: 'ignore' })
  t.after(() => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  })
  await until('it waits', () => waits(state))
  return { child, ended: once(child, 'exit') }
}

test('a hook whose client was killed waits no longer', async (t) => {
  const state = newState('killed')
  const client = spawn('sleep', ['60'])
  const { child, ended } = await waitShortly(state, t, {
    client: { pid: client.pid ?? 0 },
    seconds: 60,
    looksEverySeconds: 1,
  })
  await sleep(2_500)
  assert.equal(child.exitCode, null, 'its client lives')
  client.kill('SIGKILL')
  const killedAt = performance.now()
  assert.deepEqual(await ended, [0, null])
  assert.ok(performance.now() - killedAt < 10_000)
  assert.equal(await waits(state), false)
})

test('a hook that waited to its end without news is followed by one at the end of the next turn', async (t) => {
  const state = newState('again')
  const first = await waitShortly(state, t, { client: null, seconds: 2, looksEverySeconds: 1 })
  assert.deepEqual(await first.ended, [0, null])
  assert.equal(await waits(state), false)
  const second = await waitShortly(state, t, { client: null, seconds: 60, looksEverySeconds: 1 })
  await sleep(1_500) // over a look: what is written afterwards is read all the same
  await rewakeWaiter(state, systemClock).wake(session, TEXT, signal)
  assert.deepEqual(await second.ended, [2, null])
})

test('where S2 keeps nothing, nobody waits', async (t) => {
  assert.deepEqual(await new Waiter(join(base, 'nothing'), t).ended, { code: 0, err: '' })
})
