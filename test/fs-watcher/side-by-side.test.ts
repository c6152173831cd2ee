import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { WakeAdapter } from '#agents/wake/adapter.ts'
import { WakeMemory } from '#agents/wake/wake-memory.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { Climbs } from '../../services/fs-watcher/climbs.ts'
import { UntakenTasks } from '../../services/fs-watcher/untaken-tasks.ts'
import { wakeByLadder } from '../../services/fs-watcher/wake-by-ladder.ts'
import { wakeIdleHolders } from '../../services/fs-watcher/wake-idle-holders.ts'
import { wakeForUntaken } from '../../services/fs-watcher/wake-untaken.ts'
import { sampleSession } from '../core/agents/sample-session.ts'
import { call, folder, heldTask, process_, SESSION, scene } from './ladder-scene.ts'

const OTHER: SessionId = 'conv_00000000000000bb/b'
const HANGS_MS = 25_000

/** Agents, each its own target, whose one rung hangs for those that the test names; tries are counted as they go on. */
async function agents(name: string, sessions: readonly SessionId[], hang: ReadonlySet<SessionId | null>) {
  const base = await scene(name, 'reads')
  const { clock, at } = base
  const begun: (SessionId | null)[] = []
  let going = 0
  let mostAtOnce = 0
  const adapter: WakeAdapter = {
    rung: 'tmux',
    timeoutMs: HANGS_MS,
    whyNot: async () => null,
    wake: async (session, _text, signal) => {
      begun.push(session?.session ?? null)
      if (!hang.has(session?.session ?? null)) return 'read'
      going += 1
      mostAtOnce = Math.max(mostAtOnce, going)
      return await new Promise((_, reject) => {
        const over = (): void => {
          going -= 1
          reject(new Error('it hung'))
        }
        signal.addEventListener('abort', over, { once: true })
      })
    },
  }
  at.unread = []
  at.sessions = sessions.map((session, index) =>
    sampleSession({
      id: `853e3a81-${index}`,
      session,
      process: process_,
      heardAt: clock.wall(),
      since: clock.wall() - 400_000,
    }),
  )
  at.held = sessions.map((session) => heldTask({ session, task: `t-${session.slice(5, -2)}` }))
  const parts = {
    ...base.parts,
    source: {
      ...base.parts.source,
      targetOf: async (session: SessionId) => session,
      covers: (target: string, session: SessionId) => target === session,
    },
    adapters: () => [adapter],
  }
  return { ...base, parts, begun, mostAtOnce: () => mostAtOnce, going: () => going }
}

test('a rung that hangs for one agent keeps no other waiting', async () => {
  const { parts, abort, begun, passes, going } = await agents('hangs', [SESSION, OTHER], new Set([SESSION]))
  const waking = wakeIdleHolders(parts, abort.signal)
  await passes('both are woken', () => begun.length === 2)
  assert.equal(going(), 1, 'the other was woken while the first hung')
  await passes('the first is given up', () => going() === 0)
  abort.abort()
  await waking
})

test('agents with tasks that nobody took are woken side by side as well', async () => {
  const { parts, at, abort, begun, passes, going } = await agents('untaken', [SESSION, OTHER], new Set([SESSION]))
  at.held = []
  const untaken = new UntakenTasks()
  for (const each of [SESSION, OTHER])
    untaken.hear(each, { type: 'task_assignment', task: `t-${each.slice(5, -2)}`, epoch: 1 })
  const waking = wakeForUntaken({ ...parts, untaken, isWorkedFor: async () => false }, abort.signal)
  await passes('both are woken', () => begun.length === 2)
  assert.equal(going(), 1)
  abort.abort()
  await waking
})

const many = (count: number): SessionId[] =>
  Array.from({ length: count }, (_, index): SessionId => `conv_${String(index).padStart(16, '0')}/b`)

test('eight rungs are tried at a time', async () => {
  const sessions = many(11)
  const { parts, abort, begun, passes, mostAtOnce } = await agents('many', sessions, new Set(sessions))
  const waking = wakeIdleHolders(parts, abort.signal)
  await passes('eight are tried', () => begun.length === 8)
  await passes('the others follow', () => begun.length === 11)
  assert.equal(mostAtOnce(), 8)
  assert.equal(new Set(begun).size, 11)
  abort.abort()
  await waking
})

test('a wake that waits for a person takes no place', async () => {
  const sessions = many(11)
  const { parts, at, abort, clock, begun } = await agents('dialogs', sessions, new Set())
  const idle = sessions[10]
  const activity = { state: 'waiting', what: 'permission prompt', until: null } as const
  at.sessions = at.sessions.map((each) => (each.session === idle ? each : { ...each, activity }))
  at.unread = call.mail.flatMap((each) => sessions.map((to) => ({ ...each, to })))
  const wakes = at.unread.map((mail) =>
    wakeByLadder(parts)({ ...call, target: mail.to, mail: [mail], fresh: new Set([mail]) }, abort.signal),
  )
  const ends = Promise.allSettled(wakes)
  await wakes[10]
  assert.deepEqual(begun, [idle])
  abort.abort()
  await clock.advance(1_000)
  await ends
})

test('turns of resumed sessions are bounded as well, and keep no other rung waiting', () => {
  const climbs = new Climbs()
  const places = Array.from({ length: 9 }, () => climbs.takePlace('resume'))
  assert.equal(places.filter((each) => each === null).length, 1)
  assert.notEqual(climbs.takePlace('tmux'), null)
  places[0]?.[Symbol.dispose]()
  assert.notEqual(climbs.takePlace('resume'), null)
})

test('one agent is woken for mail and for a task one after the other', async () => {
  const stage = await agents('turns', [SESSION, OTHER], new Set([SESSION]))
  const { parts, at, abort, begun, passes, going, mostAtOnce } = stage
  at.held = at.held.slice(0, 1)
  const waking = wakeIdleHolders(parts, abort.signal)
  await passes('it is woken for its task', () => going() === 1)
  const [other] = call.mail.map((each) => ({ ...each, id: 2, to: OTHER }))
  assert.ok(other !== undefined)
  at.unread = [...call.mail, other]
  const mine = wakeByLadder(parts)({ ...call, target: SESSION }, abort.signal)
  mine.catch(() => undefined)
  await wakeByLadder(parts)({ ...call, target: OTHER, mail: [other], fresh: new Set([other]) }, abort.signal)
  assert.deepEqual(begun, [SESSION, OTHER], 'another agent has its own turn')
  await passes('it is woken for its mail', () => begun.length === 3)
  assert.equal(mostAtOnce(), 1, 'once the first climb has ended')
  await passes('that is given up too', () => going() === 0)
  await assert.rejects(mine, /no answer within 25 s/)
  abort.abort()
  await waking
})

test('a client that is woken for its mail is looked at for its task when that is over', async () => {
  const { parts, at, abort, clock, begun, passes, going } = await agents('later', [SESSION], new Set([SESSION]))
  at.unread = [...call.mail]
  const mail = wakeByLadder(parts)({ ...call, target: SESSION }, abort.signal)
  mail.catch(() => undefined)
  await passes('it is woken for its mail', () => going() === 1)
  at.sessions = at.sessions.map((each) => ({ ...each, since: clock.wall() - 400_000 }))
  const waking = wakeIdleHolders(parts, abort.signal)
  await clock.advance(20_000)
  assert.equal(begun.length, 1)
  await passes('it is woken for its task', () => begun.length === 2)
  await assert.rejects(mail)
  abort.abort()
  await waking
})

test('what several climbs note at once all stands on the disk', async () => {
  const path = join(folder, 'notes')
  const memory = await WakeMemory.open(path)
  for (let round = 0; round < 30; round += 1) {
    const names = Array.from({ length: 4 }, (_, index) => `w-${round}-${index}`)
    await Promise.all(names.map((name) => memory.noteSent(name, 1)))
    const read = await WakeMemory.open(path)
    assert.deepEqual(
      names.map((name) => read.sent(name).length),
      [1, 1, 1, 1],
    )
  }
})
