import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClientSession } from '#agents/client-session.ts'
import type { WakeAdapter } from '#agents/wake/adapter.ts'
import { WakeMemory } from '#agents/wake/wake-memory.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Rung } from '#fleet/wake-ladder.ts'
import type { HeldTask } from '#spool/held-tasks.ts'
import { previewOf, type UnreadMail } from '../../services/fs-watcher/mail-source.ts'
import { UntakenTasks } from '../../services/fs-watcher/untaken-tasks.ts'
import { lookAfterUnwoken } from '../../services/fs-watcher/unwoken-agents.ts'
import { firstRung, untilDue, wakeByLadder } from '../../services/fs-watcher/wake-by-ladder.ts'
import { idleHolders, wakeIdleHolders } from '../../services/fs-watcher/wake-idle-holders.ts'
import { wakeForUntaken } from '../../services/fs-watcher/wake-untaken.ts'
import { sampleSession } from '../core/agents/sample-session.ts'
import { settle } from '../manual-clock.ts'
import { call, folder, heldTask, mail, process_, SESSION, scene } from './ladder-scene.ts'

test('what was read is kept for the agent and its client, and tried first by the next start', async () => {
  const { parts, abort, passes } = await scene('worked', 'reads')
  let isOver = false
  const waking = wakeByLadder(parts)(call, abort.signal).then(() => {
    isOver = true
  })
  await passes('it is woken', () => isOver)
  await waking
  const memory = await WakeMemory.open(join(folder, 'worked'))
  assert.equal(memory.worked('w-1', sampleSession())?.rung, 'inbox_socket')
  assert.equal(memory.worked('w-1', sampleSession({ version: '9.9.9' })), null)
  assert.equal(memory.sent('w-1').length, 1)
})

test('a disk that takes no note lets an agent be woken, and the budget counts all the same', async () => {
  writeFileSync(join(folder, 'no-folder'), '')
  const { parts, abort, texts, log, passes } = await scene('no-folder/wakes', 'is ignored')
  const waking = wakeByLadder(parts)(call, abort.signal)
  await passes('it is sent', () => texts.length === 1)
  await passes('that is told', () => log.records.some(({ event }) => event === 'wake not noted'))
  assert.equal(parts.memory.sent('w-1').length, 1)
  assert.ok(!log.records.some(({ event }) => event === 'agent not woken'))
  abort.abort()
  await assert.rejects(waking)
})

test('a new version of the client begins again with the first rung', async () => {
  const { parts, at, abort, passes } = await scene('version', 'reads')
  const tried: string[] = []
  const rungs = (['app_server', 'tmux'] as const).map((rung) => ({
    ...(parts.adapters(call)[0] as WakeAdapter),
    rung,
    whyNot: async () => {
      tried.push(rung)
      return null
    },
  }))
  const wake = async (version: string): Promise<void> => {
    at.sessions = at.sessions.map((each) => ({ ...each, client: 'codex', version, wakesRead: [] }))
    let isOver = false
    const waking = wakeByLadder({ ...parts, adapters: () => rungs })(call, abort.signal)
    void waking.then(() => {
      isOver = true
    })
    await passes('it is woken', () => isOver)
  }
  const worked = { rung: 'tmux', readMs: 1, at: 1 } as const
  await parts.memory.noteWorked('w-1', sampleSession({ client: 'codex', version: '0.171.0' }), worked)
  for (const version of ['0.171.0', '0.172.0']) await wake(version)
  assert.deepEqual(tried, ['tmux', 'app_server'])
})

test('an agent that is not woken is told of once, across restarts, and once more when its mail is taken', async () => {
  const { parts, at, abort, told, passes } = await scene('unwoken', 'is refused')
  for (let wake = 0; wake < 2; wake += 1) await assert.rejects(wakeByLadder(parts)(call, abort.signal), /no socket/)
  assert.deepEqual(told, [`failed ${SESSION} messages,1 inbox_socket (no socket)`])
  const again = { ...parts, memory: await WakeMemory.open(join(folder, 'unwoken')) }
  await assert.rejects(wakeByLadder(again)(call, abort.signal), /no socket/)
  assert.equal(told.length, 1)
  const looking = lookAfterUnwoken(again, abort.signal)
  await settle()
  assert.equal(told.length, 1, 'its mail waits')
  at.unread = []
  await passes('it is told', () => told.length === 2)
  assert.equal(told[1], `read ${SESSION} null`)
  abort.abort()
  await looking
})

test('where no client runs nobody is told that it was not woken', async () => {
  const { parts, at, abort, told } = await scene('nobody', 'is refused')
  at.sessions = [sampleSession({ session: SESSION, process: { ...process_, startTicks: '1' } })]
  await assert.rejects(wakeByLadder(parts)(call, abort.signal), /no way to wake it was read/)
  at.sessions = []
  await assert.rejects(wakeByLadder(parts)(call, abort.signal), /no way to wake it was read/)
  assert.deepEqual(told, [])
})

test('a wake waits until the client of its target comes to rest', async () => {
  const { parts, at, abort, clock, passes } = await scene('due', 'reads')
  const say = (state: ClientSession['activity']['state']): void => {
    at.sessions = at.sessions.map((each) => ({
      ...each,
      heardAt: clock.wall(),
      activity: { state, what: null, until: null },
    }))
  }
  say('working')
  let isDue = false
  const due = untilDue('w-1', parts, abort.signal).then((waited) => {
    isDue = true
    return waited
  })
  await clock.advance(60_000)
  assert.equal(isDue, false)
  say('waiting')
  await clock.advance(60_000)
  assert.equal(isDue, false)
  say('idle')
  await passes('it is due', () => isDue)
  assert.equal(await due, 'waited', 'what it is woken for may be another by now')
  assert.equal(await untilDue('w-1', parts, abort.signal), 'at once')
})

test('a wake names who wrote, and the tasks that the mail assigns', async () => {
  const { parts, abort, passes, texts } = await scene('facts', 'reads')
  const from = (id: number, fields: Partial<UnreadMail> = {}): UnreadMail => ({ ...mail, id, ...fields })
  const all = [from(1), from(2), from(3, { from: 'conv_00000000000000bb/b' })]
  const text = JSON.stringify({ type: 'task_assignment', task_id: 't-7', description: 'x'.repeat(500) })
  const stored = { text, action: 'task_assignment', files: [] as string[] }
  const messages = [previewOf({ ...mail, ...stored })]
  const earlier = [previewOf({ ...mail, id: 2, text: 'hi', action: null, files: [], sender: 'w-2' })]
  void wakeByLadder(parts)({ ...call, mail: all, messages, earlier }, abort.signal).catch(() => undefined)
  await passes('it is woken', () => texts.length === 1)
  assert.match(
    texts[0] ?? '',
    /: 3 unread messages from lead, w-2, conv_00000000000000bb\/b\. Assigned by them: t-7\. The/,
  )
  abort.abort()
})

test('what a wake waits for stands in the health until it is over, and is told once in the log', async () => {
  const { parts, at, abort, clock, passes, warnings, log } = await scene('waits', 'reads')
  const say = (state: ClientSession['activity']['state'], what: string | null): void => {
    at.sessions = at.sessions.map((each) => ({
      ...each,
      heardAt: clock.wall(),
      activity: { state, what, until: null },
    }))
  }
  const told = (): number => log.records.filter(({ event }) => event === 'wake waits for the client').length
  say('waiting', 'may it run npm test?')
  let isDue = false
  void untilDue('w-1', parts, abort.signal).then(() => {
    isDue = true
  })
  await clock.advance(60_000)
  assert.deepEqual(
    [...warnings],
    [['wake of w-1', 'w-1 is not woken, as its client waits for a person: may it run npm test?']],
  )
  assert.equal(told(), 1)
  say('parked', 'limit reached, resets 3pm')
  await clock.advance(60_000)
  assert.match(warnings.get('wake of w-1') ?? '', /a limit of use: limit reached, resets 3pm$/)
  say('working', null)
  await clock.advance(1_000)
  assert.deepEqual([...warnings], [], 'the end of a turn is nothing that a person sees to')
  say('idle', null)
  await passes('it is due', () => isDue)
  assert.equal(told(), 3)
  assert.deepEqual(log.records.at(-1)?.event, 'wake waits no longer')
})

test('a budget that is used up stands in the health until a wake is sent', async () => {
  const { parts, abort, passes, warnings, clock, texts } = await scene('budget', 'reads')
  for (let sent = 0; sent < 12; sent += 1) await parts.memory.noteSent('w-1', clock.wall())
  const waking = wakeByLadder(parts)(call, abort.signal)
  await passes('it waits', () => warnings.size === 1)
  assert.match(warnings.get('wake of w-1') ?? '', /12 wakes within an hour/)
  await passes('it is sent', () => {
    void clock.advance(60_000)
    return texts.length === 1
  })
  await waking
  assert.deepEqual([...warnings], [])
})

test('a client that idles for five minutes with a task in hand is woken once, and again after it has gone on', async () => {
  const { parts, at, abort, clock, texts, passes } = await scene('holder', 'reads')
  at.unread = []
  at.held = [heldTask()]
  const waking = wakeIdleHolders(parts, abort.signal)
  await clock.advance(290_000)
  assert.deepEqual(texts, [])
  await passes('it is woken', () => texts.length === 1)
  assert.match(texts[0] ?? '', /: no unread message\. Task t-1 is open\./)
  await clock.advance(900_000)
  assert.equal(texts.length, 1)
  at.sessions = at.sessions.map((each) => ({ ...each, since: clock.wall() }))
  await passes('it is woken again', () => texts.length === 2)
  abort.abort()
  await waking.catch(() => undefined)
})

test('a client that idles with a task and is not woken is told of once, across restarts, until it goes on', async () => {
  const { parts, at, abort, told, passes, log, clock } = await scene('holder unwoken', 'is refused')
  at.unread = []
  at.held = [heldTask()]
  const triedSoFar = (): number => log.records.filter(({ event }) => event === 'agent not woken').length
  at.sessions = at.sessions.map((each) => ({ ...each, since: each.since - 400_000 }))
  const first = new AbortController()
  const waking = wakeIdleHolders(parts, first.signal)
  await passes('it is told', () => told.length === 1)
  assert.deepEqual(told, [`failed ${SESSION} task,t-1 inbox_socket (no socket)`])
  first.abort()
  await waking
  const again = { ...parts, memory: await WakeMemory.open(join(folder, 'holder unwoken')) }
  const wakingAgain = wakeIdleHolders(again, abort.signal)
  const mail = lookAfterUnwoken(again, abort.signal)
  await passes('it is tried again', () => triedSoFar() === 2)
  await clock.advance(60_000)
  assert.equal(told.length, 1, 'it lasts, although no mail waits')
  at.sessions = at.sessions.map((each) => ({ ...each, activity: { state: 'working', what: null, until: null } }))
  await passes('that it goes on is told', () => told.length === 2)
  assert.equal(told[1], `read ${SESSION} t-1`)
  abort.abort()
  await Promise.all([wakingAgain, mail])
  assert.deepEqual([...(await WakeMemory.open(join(folder, 'holder unwoken'))).unwoken()], [])
})

test('mail that is not read beside such a task is told by the same incident, which ends when the mail is taken', async () => {
  const { parts, at, abort, told, passes, clock } = await scene('both unwoken', 'is refused')
  at.unread = []
  at.held = [heldTask()]
  at.sessions = at.sessions.map((each) => ({ ...each, since: each.since - 400_000 }))
  const looking = [wakeIdleHolders(parts, abort.signal), lookAfterUnwoken(parts, abort.signal)]
  await passes('it is told', () => told.length === 1)
  at.unread = [mail]
  await assert.rejects(wakeByLadder(parts)(call, abort.signal), /no socket/)
  at.sessions = at.sessions.map((each) => ({ ...each, since: clock.wall() }))
  await clock.advance(60_000)
  assert.equal(told.length, 1)
  at.unread = []
  await passes('that it is over is told', () => told.length === 2)
  assert.equal(told[1], `read ${SESSION} null`)
  abort.abort()
  await Promise.all(looking)
})

test('a wake for a task that is read ends what was told', async () => {
  const { parts, at, abort, told, passes } = await scene('holder read', 'reads')
  at.unread = []
  at.held = [heldTask()]
  at.sessions = at.sessions.map((each) => ({ ...each, since: each.since - 400_000 }))
  await parts.memory.noteUnwoken('w-1', { sessions: [SESSION], idleWith: null })
  const waking = wakeIdleHolders(parts, abort.signal)
  await passes('it is told', () => told.length === 1)
  assert.equal(told[0], `read ${SESSION} null`)
  abort.abort()
  await waking
})

test('who idles with a task is told by who took it, and a lost task is nobody’s', () => {
  const now = 1_000_000
  const session = sampleSession({ session: SESSION, process: process_, since: 0 })
  const found = (task: Partial<HeldTask>, fields: Partial<ClientSession> = {}): number =>
    idleHolders([{ ...session, ...fields }], [heldTask(task)], now).length
  assert.equal(found({}), 1)
  assert.equal(found({ by: { client: 'claude', id: session.id } }), 1)
  assert.equal(found({ by: { client: 'claude', id: 'another' } }), 0)
  assert.equal(found({ session: 'conv_00000000000000bb/b' }), 0)
  assert.equal(found({ lost: 'it went to another' }), 0)
  assert.equal(found({}, { since: now - 299_000 }), 0)
  assert.equal(found({}, { activity: { state: 'working', what: null, until: null } }), 0)
})

test('a client that idles for five minutes beside a task that was read of and not taken is woken once', async () => {
  const { parts, at, abort, clock, texts, passes } = await scene('untaken', 'reads')
  const untaken = new UntakenTasks()
  const assign = (task: string, epoch: number): void => untaken.hear(SESSION, { type: 'task_assignment', task, epoch })
  const somewhat = async (): Promise<void> => {
    let looks = 0
    await passes('some time has passed', () => {
      looks += 1
      return looks > 20
    })
  }
  const working = new Set<SessionId>()
  const waking = wakeForUntaken({ ...parts, untaken, isWorkedFor: async (each) => working.has(each) }, abort.signal)
  assign('t-1', 1)
  await clock.advance(320_000)
  assert.deepEqual(texts, [], 'its mail is unread, which another wake tells')
  at.unread = []
  await passes('it is woken', () => texts.length === 1)
  assert.match(texts[0] ?? '', /: no unread message\. Assigned and not taken: t-1\. .*"s2 task take" begins a task\.$/)
  await clock.advance(900_000)
  assert.equal(texts.length, 1)
  assign('t-1', 2)
  await passes('it is woken for the next epoch', () => texts.length === 2)
  assign('t-1', 1)
  assign('t-1', 2)
  assign('t-2', 1)
  untaken.hear(SESSION, { type: 'task_revoked', task: 't-2', epoch: 1 })
  at.held = [heldTask({ task: 't-3', epoch: 4 })]
  assign('t-3', 4)
  await somewhat()
  working.add(SESSION)
  at.held = []
  assign('t-4', 1)
  await somewhat()
  assert.equal(texts.length, 2, 'an earlier epoch, what was taken away, what is held, what s2 work takes')
  abort.abort()
  await waking.catch(() => undefined)
})

test('the way that was read last comes first, whether a wake or a person tried it', () => {
  const known = (rung: Rung | null, at: number): Pick<WakeMemory, 'worked'> => ({
    worked: () => (rung === null ? null : { rung, readMs: 1, at }),
  })
  const first = (woken: Pick<WakeMemory, 'worked'>, tried: Pick<WakeMemory, 'worked'>, session = sampleSession()) =>
    firstRung('w-1', session, woken, tried)
  assert.equal(first(known('tmux', 1), known('rewake', 2)), 'rewake')
  assert.equal(first(known('tmux', 2), known('rewake', 1)), 'tmux')
  assert.equal(first(known('tmux', 1), known(null, 0)), 'tmux')
  assert.equal(first(known(null, 0), known('rewake', 1)), 'rewake')
  assert.equal(first(known(null, 0), known(null, 0)), null)
  assert.equal(firstRung('w-1', null, known('tmux', 1), known('rewake', 2)), 'tmux', 'a person tried a session')
})
