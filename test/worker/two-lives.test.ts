/** Two lives of one worker: the same credential, `s2 work` and a daemon that beats in each. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { PLACE_HELD_MS } from '#fleet/speakers.ts'
import type { Report, Task } from '#fleet/task.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { CommandEnd } from '../../services/worker/running-command.ts'
import { TaskLoop } from '../../services/worker/task-loop.ts'
import type { WorkEvent } from '../../services/worker/work-event.ts'
import type { WorkerSession } from '../../services/worker/worker-session.ts'
import { ManualClock } from '../manual-clock.ts'
import { SILENT } from './silent-agent.ts'

const BEAT = 5_000
const POLL = 30_000
const MINUTE = 60_000

class Ground {
  readonly clock = new ManualClock()
  readonly store = openMemoryStore({ clock: this.clock })
  readonly ending = new AbortController()

  async session(agent: string): Promise<SessionId> {
    const agents = { a: 'orchestrator', b: agent }
    const lifetimeMs = 86_400_000
    const { id } = await this.store.openConversation({ roles: { a: 'o', b: 'tests' }, agents, lifetimeMs })
    return sessionId(id, 'b')
  }

  async add(id: string, holder: SessionId): Promise<void> {
    const task = { id, description: id, priority: 'P2', role: null, holder, deadline: null, createdBy: null } as const
    await this.store.addTask(task)
  }
}

/** A host with a daemon and `s2 work`. Its commands take as long as `takesMs`. */
class Host {
  readonly name: string
  readonly place: string | undefined
  readonly events: WorkEvent[] = []
  readonly started: string[] = []
  /** When it asked for work. */
  readonly asked: { readonly session: SessionId; readonly at: number }[] = []
  readonly #ground: Ground
  readonly #takesMs: number
  #isCutOff = false
  #seq = 0

  constructor(ground: Ground, name: string, place: string | undefined, takesMs: number) {
    this.#ground = ground
    this.name = name
    this.place = place
    this.#takesMs = takesMs
  }

  cutOff(isCutOff: boolean): void {
    this.#isCutOff = isCutOff
  }

  /** Works until the ground ends. */
  start(sessions: readonly SessionId[]): void {
    const { clock, ending } = this.#ground
    void this.#beat(sessions)
    const seats = sessions.map((session): WorkerSession => ({ session, store: this.#wire(), place: this.place }))
    const loop = new TaskLoop(
      { leaseMs: MINUTE, pollMs: POLL, progressMs: BEAT, quickFailureMs: 0, once: false },
      {
        clock,
        chance: () => 0.5,
        runId: this.name,
        sessions: async () => seats,
        reports: {
          put: (holder, report) => this.#put(holder, report),
          carried: async () => 'carried',
          waiting: async () => 0,
        },
        words: SILENT,
        taskMessages: {
          take: async () => ({ assigned: [], revoked: [] }),
          onNews: () => ({ [Symbol.dispose]: () => undefined }),
        },
        start: (task) => this.#run(task),
        judge: () => null,
        say: (event) => this.events.push(event),
        draining: ending.signal,
        stopping: ending.signal,
      },
    )
    void loop.work()
  }

  said(event: WorkEvent['event']): WorkEvent[] {
    return this.events.filter((each) => each.event === event)
  }

  #run(task: Task): { ended: Promise<CommandEnd>; stop(): void } {
    this.started.push(`${task.id}@${task.epoch}`)
    const ended = Promise.withResolvers<CommandEnd>()
    const end = (exitCode: number | null): void => ended.resolve({ exitCode, signal: null, tail: this.name })
    void this.#ground.clock.sleep(this.#takesMs).then(() => end(0))
    return { ended: ended.promise, stop: () => end(null) }
  }

  #wire(): WorkerSession['store'] {
    const { store, clock } = this.#ground
    const demandNetwork = (): void => {
      if (this.#isCutOff) throw new S2Error('unavailable', 'the network is away')
    }
    return {
      leaseTask: async (...words) => {
        this.asked.push({ session: words[0], at: clock.now() })
        demandNetwork()
        return await store.leaseTask(...words)
      },
      noteCondition: async (...words) => {
        demandNetwork()
        await store.noteCondition(...words)
      },
      report: async (...words) => {
        demandNetwork()
        return await store.report(...words)
      },
    }
  }

  async #put(holder: SessionId, report: Report): Promise<string> {
    await this.#ground.store.report(holder, report).catch(() => undefined)
    return report.task
  }

  /** As keepalive does: where it is refused it asks again when it is told to. */
  async #beat(sessions: readonly SessionId[]): Promise<void> {
    const { clock, store, ending } = this.#ground
    const notBefore = new Map<SessionId, number>()
    while (!ending.signal.aborted) {
      for (const session of sessions) {
        if (this.#isCutOff || clock.now() < (notBefore.get(session) ?? 0)) continue
        this.#seq += 1
        const place = this.place === undefined ? {} : { place: this.place }
        const beat = { session, host: this.name, incarnation: this.name, seq: this.#seq, work: 0, ...place }
        await store.beat([beat]).catch(({ retryAfterS }: S2Error) => {
          notBefore.set(session, clock.now() + (retryAfterS ?? 0) * 1_000)
        })
      }
      await clock.sleep(BEAT, ending.signal).catch(() => undefined)
    }
  }
}

async function pass(ground: Ground, ms: number): Promise<void> {
  for (let past = 0; past < ms; past += MINUTE) await ground.clock.advance(Math.min(MINUTE, ms - past))
}

test('over an hour one of two lives does the task, once, and the other never starts a command and says so once', async () => {
  const ground = new Ground()
  const session = await ground.session('w1')
  await ground.add('long', session)
  const hosts = [
    new Host(ground, 'box-1', 'here', 50 * MINUTE),
    new Host(ground, 'box-2', 'there', 50 * MINUTE),
  ] as const
  for (const host of hosts) host.start([session])
  for (let past = 0; past < 60; past += 1) {
    ground.clock.step(past % 2 === 0 ? 3 * 60 * MINUTE : -3 * 60 * MINUTE) // the wall clock says nothing
    await ground.clock.advance(MINUTE)
  }
  const [winner, loser] = hosts
  const task = await ground.store.task('long')
  assert.deepEqual([task.state, task.epoch, task.result?.tail], ['completed', 1, winner.name])
  assert.deepEqual([winner.started, loser.started], [['long@1'], []])
  const [trouble, ...more] = loser.said('trouble')
  assert.equal(more.length, 0)
  assert.ok(trouble?.event === 'trouble' && trouble.error instanceof S2Error)
  assert.equal(trouble.what, `no work is taken for ${session}`)
  assert.match(trouble.error.message, /is spoken for by box-1/)
  assert.match(trouble.error.next ?? '', /s2 worker invite/)
  assert.deepEqual(winner.said('trouble'), [])
  assert.ok(loser.asked.length <= (60 * MINUTE) / (PLACE_HELD_MS - BEAT) + 2, `${loser.asked.length} questions an hour`)
  ground.ending.abort()
})

test('when the winner falls silent the other goes on with its task within the bound, and nothing is done twice', async () => {
  const ground = new Ground()
  const session = await ground.session('w1')
  await ground.add('long', session)
  const [winner, other] = [
    new Host(ground, 'box-1', 'here', 30 * MINUTE),
    new Host(ground, 'box-2', 'there', 10 * MINUTE),
  ]
  for (const host of [winner, other]) host.start([session])
  await pass(ground, 5 * MINUTE)
  winner.cutOff(true)
  await ground.clock.advance(PLACE_HELD_MS + BEAT)
  assert.deepEqual(other.started, ['long@2'])
  await pass(ground, 2 * MINUTE)
  winner.cutOff(false)
  await pass(ground, 20 * MINUTE)
  const task = await ground.store.task('long')
  assert.deepEqual([task.state, task.epoch, task.result?.tail], ['completed', 2, 'box-2'])
  assert.deepEqual(winner.started, ['long@1'])
  assert.match(String((winner.said('trouble').at(-1) as { error?: unknown })?.error), /is spoken for by box-2/)
  ground.ending.abort()
})

test('a session that is spoken for from elsewhere keeps a host from no other, and is asked for seldom', async () => {
  const ground = new Ground()
  const [contested, own] = [await ground.session('w1'), await ground.session('w2')]
  const [first, second] = [new Host(ground, 'box-1', 'here', 1_000), new Host(ground, 'box-2', 'there', 1_000)]
  first.start([contested])
  await ground.clock.advance(1_000)
  await ground.store.noteCondition(contested, { state: 'sick', why: 'no disk', until: null })
  second.start([contested, own])
  for (let n = 0; n < 20; n += 1) {
    await ground.add(`for-w1-${n}`, contested)
    await ground.add(`for-w2-${n}`, own)
    await pass(ground, MINUTE)
  }
  assert.equal(first.started.length, 20)
  assert.deepEqual(
    second.started,
    Array.from({ length: 20 }, (_, n) => `for-w2-${n}@1`),
  )
  assert.equal(second.said('trouble').length, 1)
  const conditions = await ground.store.conditions()
  assert.deepEqual(
    conditions.map(({ session, why }) => [session, why]),
    [[contested, 'no disk']],
    'whose place is it?',
  )
  const asked = second.asked.filter(({ session }) => session === contested).length
  assert.ok(asked <= (20 * MINUTE) / (PLACE_HELD_MS - BEAT) + 2, `${asked} questions in 20 min`)
  ground.ending.abort()
})
