/** A fault of the place is not the task's: real commands, the real loop, and a memory store that several workers share. */

import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type SessionId, sessionId } from '../../services/core/fleet/session-id.ts'
import type { Task } from '../../services/core/fleet/task.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { commandLine } from '../../services/core/runtime/run-command.ts'
import { openMemoryStore } from '../../services/core/store/memory/memory.ts'
import { placeJudge } from '../../services/worker/place-fault.ts'
import { commandStarter } from '../../services/worker/task-command.ts'
import { TaskLoop } from '../../services/worker/task-loop.ts'
import type { WorkEvent } from '../../services/worker/work-event.ts'
import { until } from '../until.ts'
import { SILENT } from './silent-agent.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-place-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const TEN = Array.from({ length: 10 }, (_, index) => `t${index}`)

/** Workers that share a store, and somebody who deals tasks out and takes them from sick ones, as the watchdog does. */
class Fleet implements AsyncDisposable {
  readonly store = openMemoryStore({ clock: systemClock })
  readonly events: (WorkEvent & { readonly worker: number })[] = []
  readonly #sessions: SessionId[] = []
  readonly #over = new AbortController()
  readonly #done: Promise<void>[] = []

  async worker(exec: string, cwd = folder, quickFailureMs = 5_000): Promise<void> {
    const roles = { a: 'orchestrator', b: 'tests' }
    const worker = this.#sessions.length
    const agents = { a: 'o', b: `w${worker}` }
    const { id } = await this.store.openConversation({ roles, agents, lifetimeMs: 86_400_000 })
    const session = sessionId(id, 'b')
    this.#sessions.push(session)
    const argv = commandLine(exec)
    const env = { PATH: process.env.PATH, LANG: 'C.UTF-8' }
    const loop = new TaskLoop(
      { leaseMs: 60_000, pollMs: 30, progressMs: 500, quickFailureMs, once: false },
      {
        clock: systemClock,
        chance: () => 0.5,
        runId: `life-of-${worker}`,
        sessions: async () => [{ session, store: this.store }],
        reports: {
          put: async (holder, report) => String((await this.store.report(holder, report)).epoch),
          carried: async () => 'carried',
          waiting: async () => 0,
        },
        words: SILENT,
        taskMessages: {
          take: async () => ({ assigned: [], revoked: [] }),
          onNews: () => ({ [Symbol.dispose]: () => undefined }),
        },
        start: commandStarter(argv, env, cwd, systemClock),
        judge: placeJudge({ argv, cwd, env }, systemClock),
        say: (event) => this.events.push({ ...event, worker }),
        draining: this.#over.signal,
        stopping: this.#over.signal,
      },
    )
    this.#done.push(loop.work())
  }

  async add(id: string, description = `do ${id}`, worker: number | null = null): Promise<void> {
    const holder = worker === null ? null : (this.#sessions[worker] ?? null)
    const rest = { priority: 'P2', role: null, deadline: null, createdBy: null } as const
    await this.store.addTask({ id, description, holder, ...rest })
  }

  /** Deals until all tasks have ended, or `isOver` says so. */
  async deal(isOver: () => unknown = () => false): Promise<Map<string, Task>> {
    await until('all tasks have ended', async () => {
      if (await isOver()) return true
      const tasks = await this.store.tasks({ open: true })
      const conditions = await this.store.conditions()
      const ill = new Set(conditions.filter(({ state }) => state !== 'probing').map(({ session }) => session))
      for (const task of tasks) await this.#dealOne(task, ill)
      return tasks.length === 0
    })
    return new Map((await this.store.tasks({})).map((task) => [task.id, task]))
  }

  async #dealOne({ id: task, epoch, state, holder, attempts }: Task, ill: ReadonlySet<SessionId>): Promise<void> {
    const isStranded = state === 'assigned' && holder !== null && ill.has(holder)
    if (state !== 'pending' && !isStranded) return
    const free = this.#sessions.filter((each) => !ill.has(each) && each !== attempts.at(-1)?.holder)
    const to = free[epoch % Math.max(1, free.length)] ?? null
    if (to !== null) await this.store.move({ task, epoch, to, reason: isStranded ? 'holder_sick' : 'unassigned' })
  }

  of(worker: number, event: WorkEvent['event']): WorkEvent[] {
    return this.events.filter((each) => each.worker === worker && each.event === event)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await Promise.all(this.#done)
    await this.store[Symbol.asyncDispose]()
  }
}

/** Two workers, one in a place that cannot do any of ten tasks; half of them were given to it. */
async function tenWithOneBroken(exec: string, cwd = folder): Promise<{ why: string; attempts: number }> {
  await using fleet = new Fleet()
  await fleet.worker(exec, cwd)
  await fleet.worker('echo done')
  for (const [index, id] of TEN.entries()) await fleet.add(id, `do ${id}`, index % 2)
  const tasks = await fleet.deal()
  for (const id of TEN) assert.equal(tasks.get(id)?.state, 'completed', `${id}: ${tasks.get(id)?.result?.tail}`)
  const [condition] = await fleet.store.conditions()
  assert.equal(condition?.state, 'sick')
  assert.equal(fleet.of(0, 'sick').length, 1, 'it is told once')
  return { why: condition?.why ?? '', attempts: fleet.of(0, 'started').length }
}

test('two workers, one whose command fails at once, ten tasks: ten completed', async () => {
  const { why, attempts } = await tenWithOneBroken('echo no licence; false')
  assert.equal(why, 'its command failed within seconds 3 times in a row: no licence')
  assert.equal(attempts, 3)
})

test('two workers, one whose folder is missing, ten tasks: ten completed', async () => {
  const gone = join(folder, 'gone')
  const { why, attempts } = await tenWithOneBroken('echo done', gone)
  assert.equal(why, `the folder ${gone} does not exist`)
  assert.equal(attempts, 1)
})

test('two workers, one without the program, ten tasks: ten completed', async () => {
  const plain = await tenWithOneBroken('["no-such-agent","-p"]')
  assert.deepEqual(plain, { why: 'the program no-such-agent is not installed (not found in PATH)', attempts: 1 })
  const byShell = await tenWithOneBroken('no-such-agent -p -- "$S2_TASK_DESCRIPTION"')
  assert.deepEqual(byShell, { why: 'the program no-such-agent is not installed (not found in PATH)', attempts: 1 })
})

test('a task of its own accord fails at another agent too, and then it has failed', async () => {
  await using fleet = new Fleet()
  await fleet.worker('sh -c "$S2_TASK_DESCRIPTION"')
  await fleet.worker('sh -c "$S2_TASK_DESCRIPTION"')
  await fleet.add('bad', 'echo it does not compile; exit 3')
  const task = (await fleet.deal()).get('bad')
  assert.equal(task?.state, 'failed')
  assert.equal(task?.result?.exitCode, 3)
  assert.deepEqual(
    task?.attempts.map(({ end, note }) => [end, note]),
    [
      ['quick_failure', 'it does not compile'],
      ['failed', 'it does not compile'],
    ],
  )
  assert.equal(new Set(task?.attempts.map(({ holder }) => holder)).size, 2)
  assert.deepEqual(await fleet.store.conditions(), [])
})

test('many bad tasks at once fail, and do not keep the good ones from being done', async () => {
  await using fleet = new Fleet()
  await fleet.worker('sh -c "$S2_TASK_DESCRIPTION"')
  await fleet.worker('sh -c "$S2_TASK_DESCRIPTION"')
  const bad = ['b0', 'b1', 'b2', 'b3', 'b4', 'b5']
  for (const id of bad) await fleet.add(id, 'echo it does not compile; exit 3')
  for (const id of TEN) await fleet.add(id, 'echo done')
  const tasks = await fleet.deal()
  for (const id of TEN) assert.equal(tasks.get(id)?.state, 'completed')
  for (const id of bad) assert.equal(tasks.get(id)?.state, 'failed')
  assert.ok((await fleet.store.conditions()).length <= 1, 'nobody is left to work')
})

test('a tool that the script of a task misses, or a limit that its output speaks of, is no fault of the place', async () => {
  await using fleet = new Fleet()
  await fleet.worker('sh -c "$S2_TASK_DESCRIPTION"', folder, 0)
  await fleet.add('tool', 'echo building; no-such-tool --now')
  await fleet.add('limits', 'echo "You\'ve hit your session limit · resets 3pm"')
  await fleet.add('denied', 'echo; /etc/passwd')
  const tasks = await fleet.deal()
  assert.equal(tasks.get('tool')?.state, 'failed')
  assert.equal(tasks.get('denied')?.state, 'failed')
  assert.equal(tasks.get('limits')?.state, 'completed')
  assert.deepEqual(await fleet.store.conditions(), [])
})

test('a client that reached its limit gives the task back, and its worker is parked until the limit ends', async () => {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  writeFileSync(
    join(bin, 'claude'),
    '#!/bin/sh\necho "You\'ve hit your session limit · resets Dec 3, 8:47pm (UTC)"\nexit 1\n',
  )
  chmodSync(join(bin, 'claude'), 0o755)
  await using fleet = new Fleet()
  await fleet.worker(`PATH=${bin}:$PATH; claude -p -- "$S2_TASK_DESCRIPTION"`)
  await fleet.worker('echo done')
  for (const [index, id] of TEN.entries()) await fleet.add(id, `do ${id}`, index % 2)
  const tasks = await fleet.deal()
  for (const id of TEN) assert.equal(tasks.get(id)?.state, 'completed')
  const [condition] = await fleet.store.conditions()
  assert.equal(condition?.state, 'parked')
  assert.equal(condition?.why, "claude: You've hit your session limit · resets Dec 3, 8:47pm (UTC)")
  assert.match(new Date(condition?.until ?? 0).toISOString(), /-12-03T20:47:00.000Z$/)
  const returned = [...tasks.values()].flatMap(({ attempts }) => attempts).filter(({ end }) => end === 'parked')
  assert.equal(returned.length, 1, 'it took another task')
})
