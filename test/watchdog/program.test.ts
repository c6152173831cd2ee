/** The program as it is started: two of them on one database, beside the process that collects beats. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { Store } from '#store/store.ts'
import { ask } from '../ask.ts'
import { mainOf, Program } from '../program.ts'
import { singly } from '../singly.ts'
import { until } from '../until.ts'

const MAIN = mainOf('watchdog')
const BEAT_MS = 200

/** A bridge that collects the beats of some workers and their orchestrator. */
class Bridge implements AsyncDisposable {
  readonly store: Store
  readonly sessions: SessionId[] = []
  readonly beating = new Set<SessionId>()
  readonly #ending = new AbortController()
  readonly #running: Promise<void>[] = []

  constructor(store: Store) {
    this.store = store
  }

  static async open(path: string, workers: number): Promise<Bridge> {
    const log = recordingLog()
    const bridge = new Bridge(await openSqliteStore(path, { clock: systemClock, chance: systemChance, log }))
    for (let n = 1; n <= workers; n += 1) {
      const { id } = await bridge.store.openConversation({
        roles: { a: 'orchestrator', b: 'worker' },
        agents: { a: 'orchestrator', b: `w${n}` },
        lifetimeMs: 3_600_000,
      })
      bridge.sessions.push(sessionId(id, 'b'))
      for (const side of ['a', 'b'] as const) bridge.beating.add(sessionId(id, side))
    }
    bridge.#running.push(bridge.#beat(), bridge.#tend())
    return bridge
  }

  async #beat(): Promise<void> {
    for (let seq = 1; !this.#ending.signal.aborted; seq += 1) {
      await this.store.beat(
        [...this.beating].map((session) => ({ session, host: 'h', incarnation: 'one', seq, work: 0 })),
      )
      await systemClock.sleep(BEAT_MS, this.#ending.signal).catch(() => undefined)
    }
  }

  async #tend(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      await systemClock.sleep(await this.store.tend(), this.#ending.signal).catch(() => undefined)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    await Promise.all(this.#running)
    await this.store[Symbol.asyncDispose]()
  }
}

test('two programs on one database move a dead worker’s task once, say how they are, and end when told', async () => {
  const folder = await mkdtemp(join(tmpdir(), 's2-watchdog-'))
  try {
    const path = join(folder, 'bridge.db')
    await using bridge = await Bridge.open(path, 3)
    const [holder] = bridge.sessions as [SessionId]
    const work = { id: 't1', description: 'x', priority: 'P2', role: null, deadline: null, createdBy: null } as const
    await bridge.store.addTask({ ...work, holder })
    const env = (state: string) => ({
      S2_STATE: join(folder, state),
      S2_STORE: `sqlite:${path}`,
      S2_BEAT: `${BEAT_MS}ms`,
      S2_LATE_AFTER: '2s',
      S2_SILENT_AFTER: '3s',
      S2_ALERT_EXEC: `cat >> ${join(folder, 'alerts')}`,
    })
    await using one = new Program(MAIN, env('one'))
    await using two = new Program(MAIN, env('two'))
    await Promise.all([one.says('ready'), two.says('ready')])
    const socket = join(folder, 'one', 'run', 'watchdog.sock')
    await healthy(socket, /"ready":true.*4 agents: 4 alive; 1 task open/)

    bridge.beating.delete(holder)
    const others = bridge.sessions.slice(1)
    const given = await Promise.race(others.map((session) => firstAssignment(bridge.store, session)))
    const { epoch, moves } = await bridge.store.task('t1')
    assert.deepEqual([given, epoch, moves], ['t1', 2, 1])
    await healthy(socket, /4 agents: 3 alive, 1 silent/)
    const { text } = await ask(socket, '/metrics')
    assert.match(text, /^s2_watchdog_agents_silent 1$/m)
    const opened = (watchdog: Program): number =>
      watchdog.eventsOf('incident opened').filter(({ cause }) => cause === 'silent:w1').length
    await Promise.race([one, two].map((each) => each.until(() => opened(each) > 0)))

    const ended = await Promise.all([one.end(), two.end()])
    assert.deepEqual(
      ended.map(({ code }) => code),
      [0, 0],
    )
    assert.equal(one.eventsOf('task reassigned').length + two.eventsOf('task reassigned').length, 1)
    assert.equal(opened(one) + opened(two), 1)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('wrong settings end the program with code 78 and a word on each', async () => {
  await using program = new Program(MAIN, { S2_STATE: tmpdir(), S2_SILENT_AFTER: '1s', S2_LATE_AFTR: '1s' })
  assert.equal((await program.ended).code, 78)
  assert.match(program.said, /S2_LATE_AFTR is not a setting; did you mean S2_LATE_AFTER\?/)
})

async function firstAssignment(store: Store, session: SessionId): Promise<string | undefined> {
  for await (const { text } of singly(store.mail(session, 0, new AbortController().signal))) {
    const letter = readTaskMessage(text)
    if (letter?.type === 'task_assignment') return letter.task
  }
  return undefined
}

async function healthy(socket: string, wanted: RegExp): Promise<void> {
  await until(`/readyz says ${wanted}`, async () => wanted.test((await ask(socket, '/readyz')).text))
}
