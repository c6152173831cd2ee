import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Conversation } from '#fleet/conversation.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { Outbox } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { until } from '../until.ts'
import { aliveAgents, type Company, deal } from './company.ts'
import { Stage, workerOf } from './stage.ts'
import { seconds, type Telling } from './telling.ts'

/** A minute stands for the three hours that tokens live. */
const LIFETIME_MS = 60_000
const NIGHT_MS = LIFETIME_MS + 8_000
/** Whoever was away is back in this time, once it reaches the bridge or the remote. */
const BACK_MS = 60_000
const ROLES = ['backend', 'tests', 'docs']

interface Fleet extends Company {
  readonly stage: Stage
  readonly telling: Telling
}

/** A fleet that nobody watches: asleep, without its bridge, robbed, and on a new machine; nobody does anything about it. */
export async function playNight(telling: Telling): Promise<void> {
  await using stage = new Stage(ROLES, { S2_LIFETIME: `${LIFETIME_MS}ms` })
  stage.keep = true
  let store = await begin(stage, telling)
  const fleet = { stage, telling, conversations: await store.conversations(), dealt: [] }
  store = await sleepOverNight({ ...fleet, store })
  await bridgeAway({ ...fleet, store })
  await tokenLeaks({ ...fleet, store })
  await newMachine({ ...fleet, store })
  await hostileRemote({ ...fleet, store })
  telling.check('s2 up ends with 0', (await stage.lower()) === 0)
  stage.keep = false
}

async function begin(stage: Stage, telling: Telling): Promise<Store> {
  telling.chapter('A small fleet whose tokens live for a minute')
  const store = await stage.raise()
  await until('all are alive', async () => (await aliveAgents(store)) === ROLES.length + 1)
  telling.say('three workers and their orchestrator are alive')
  return store
}

/** Everything is off for longer than any token lives, with a task in hand, mail unread, and a message that waits to be sent. */
async function sleepOverNight(fleet: Fleet): Promise<Store> {
  const { stage, telling } = fleet
  telling.chapter('The whole fleet is switched off for longer than its tokens live')
  const one = endOf(fleet, 1)
  await deal(fleet, 1, 'overnight', 'test -e woken || { touch woken; sleep 300; }; echo done')
  await until('the task is in hand', async () => (await fleet.store.task('overnight')).state !== 'assigned')
  await fleet.store.send(sessionId(one.split('/')[0] ?? '', 'a'), 'unread', { text: 'read me in the morning' })
  await stage.lower()
  const outbox = new Outbox(stage.stateOf(workerOf(2)))
  await outbox.put({ kind: 'send', from: endOf(fleet, 2), draft: { text: 'written in the night' } })
  await sleep(NIGHT_MS)
  const began = performance.now()
  const raisedAt = Date.now()
  const store = await stage.raise()
  const back = await until('all are alive again', async () => await isWhole(store, raisedAt), 2 * BACK_MS)
  telling.say(`all are back ${seconds(back)} after the bridge`)
  telling.check('nobody took longer than a minute', back <= BACK_MS, seconds(back))
  const now = (await store.conversations()).map(({ id }) => id).sort()
  telling.check('each worker has its conversation still', same(now, fleet.conversations.map(({ id }) => id).sort()))
  await until('the task is completed', async () => (await store.task('overnight')).state === 'completed', 2 * BACK_MS)
  telling.check('the task that was in hand is completed', true)
  const inbox = (): string => filesIn(join(stage.stateOf(workerOf(1)), 'inbox'))
  await until('the mail is read', () => inbox().includes('read me in the morning'), BACK_MS)
  telling.check('unread mail came', true)
  const carried = (): string => filesIn(join(stage.state, 'inbox'))
  await until('what waited is carried', () => carried().includes('written in the night'), BACK_MS)
  telling.check('what was written in the night was sent in the morning', true)
  telling.say(`the morning took ${seconds(performance.now() - began)}`)
  return store
}

async function bridgeAway({ stage, telling, store }: Fleet): Promise<void> {
  telling.chapter('The bridge stands still for longer than tokens live, while all others run')
  const pids = [await stage.pidOf('orchestrator', 'bridge'), await stage.pidOf('orchestrator', 'cred-sync')]
  for (const pid of pids) if (pid !== null) process.kill(pid, 'SIGSTOP')
  await sleep(NIGHT_MS)
  for (const pid of pids) if (pid !== null) process.kill(pid, 'SIGCONT')
  const movedOnAt = Date.now()
  const back = await until('all are alive again', async () => await isWhole(store, movedOnAt), 2 * BACK_MS)
  telling.check('all are back within a minute of it', back <= BACK_MS, seconds(back))
}

/** A token is known to a stranger. */
async function tokenLeaks(fleet: Fleet): Promise<void> {
  const { stage, telling, store } = fleet
  telling.chapter('A token leaks, and both ends get new ones at once')
  const session = endOf(fleet, 2)
  const [leaked = ''] = await store.tokens(session)
  await stage.s2('credential', 'rotate', workerOf(2), '--overlap', '0s')
  telling.check('the leaked one counts no more', !(await store.tokens(session)).includes(leaked))
  const taken = await until('the worker speaks by the new one', async () => {
    return heldToken(stage, 2) === (await store.tokens(session))[0]
  })
  telling.say(`the new one was in force on its host ${seconds(taken)} later`)
  await until('all are alive', async () => await isWhole(store), BACK_MS)
}

/** The disk of a worker's machine is empty. */
async function newMachine(fleet: Fleet): Promise<void> {
  const { stage, telling, store } = fleet
  telling.chapter('A worker’s machine is made anew: an invitation, and it is the same worker')
  const state = stage.stateOf(workerOf(3))
  const before = (await store.workers()).find(({ agent }) => agent === workerOf(3))
  rmSync(join(state, 'identity.json'))
  rmSync(join(state, 'credentials'), { recursive: true })
  const line = await stage.s2('worker', 'invite', '3')
  await stage.s2In(state, ['worker', 'join', '-'], line.split('\n').find((each) => each.startsWith('s2-join-')) ?? '')
  const after = (await store.workers()).find(({ agent }) => agent === workerOf(3))
  telling.check('it has new keys', after?.key !== before?.key)
  telling.check('and its old conversation', after?.conversation === before?.conversation)
  const back = await until(
    'it speaks by its new credential',
    async () => {
      return heldToken(stage, 3) === (await store.tokens(endOf(fleet, 3)))[0] && (await isWhole(store))
    },
    2 * BACK_MS,
  )
  telling.say(`it was back ${seconds(back)} after it had joined`)
}

/** Somebody writes to the git remote as they like. */
async function hostileRemote(fleet: Fleet): Promise<void> {
  const { stage, telling, store } = fleet
  telling.chapter('Somebody writes to the git remote as they like')
  const remote = join(stage.state, 'remote.git')
  const work = mkdtempSync(join(stage.folder, 'hostile-'))
  const env = { PATH: process.env.PATH, HOME: work, GIT_CONFIG_NOSYSTEM: '1' }
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: work, env, encoding: 'utf8' })
  git('clone', '--quiet', remote, '.')
  git('config', 'user.name', 'mallory')
  git('config', 'user.email', 'mallory@example.org')
  const before = ROLES.map((_, index) => heldToken(stage, index + 1))
  const path = (number: number): string => join(work, 'credentials', `${workerOf(number)}-credentials.json`)
  const [one, two] = [readFileSync(path(1), 'utf8'), readFileSync(path(2), 'utf8')]
  for (const [first, second] of [
    [two, one],
    ['{}', 'rubbish'.repeat(20_000)],
    [one.replace('"serial": 1', '"serial": 9'), two],
  ]) {
    git('fetch', '--quiet')
    git('reset', '--quiet', '--hard', 'origin/main')
    writeFileSync(path(1), first ?? '')
    writeFileSync(path(2), second ?? '')
    git('commit', '--quiet', '--all', '-m', 'hostile')
    git('push', '--quiet', '--force', 'origin', 'HEAD:main')
    await sleep(2_000)
  }
  const after = ROLES.map((_, index) => heldToken(stage, index + 1))
  telling.check('each worker keeps a credential that counts', await counts(fleet, after))
  telling.check('nobody took what was not theirs', same(before, after) || (await counts(fleet, after)))
  await until('the branch is as it was', () => git('ls-remote', 'origin', 'main') !== '' && isMended(git, one), BACK_MS)
  telling.check('the issuer has put it right', true)
  await until('all are alive', async () => await isWhole(store), BACK_MS)
}

function isMended(git: (...args: string[]) => string, one: string): boolean {
  git('fetch', '--quiet')
  return git('show', `origin/main:credentials/${workerOf(1)}-credentials.json`).includes(
    JSON.parse(one).recipient as string,
  )
}

async function counts(fleet: Fleet, tokens: readonly (string | null)[]): Promise<boolean> {
  const known = await Promise.all(ROLES.map((_, index) => fleet.store.tokens(endOf(fleet, index + 1))))
  return known.every((each, index) => each.includes(tokens[index] ?? ''))
}

/** Whether each agent beats, by verdicts that are not from before this time, and each conversation lives. */
async function isWhole(store: Store, since = 0): Promise<boolean> {
  try {
    const { at, verdicts } = await store.verdicts()
    const beats = (await store.pulses(0)).pulses.length
    const isJudged = at !== null && at > since + JUDGED_MS
    const alive = verdicts.filter(({ verdict }) => verdict === 'alive').length
    return (
      isJudged &&
      alive === ROLES.length + 1 &&
      beats >= 2 * ROLES.length &&
      (await store.conversations()).length === ROLES.length
    )
  } catch {
    return false // the bridge is not back yet
  }
}

/** What the watchdog thought before it had heard anybody is no verdict on who is back. */
const JUDGED_MS = 3_000

function endOf({ conversations }: { readonly conversations: readonly Conversation[] }, worker: number): SessionId {
  const found = conversations.find(({ agents }) => agents.b === workerOf(worker))
  return sessionId(found?.id ?? '', 'b')
}

/** The token in the credential that lies on a worker's host. */
function heldToken(stage: Stage, worker: number): string | null {
  const folder = join(stage.stateOf(workerOf(worker)), 'credentials')
  try {
    const name = readdirSync(folder).find((each) => /^[^.]+\.json$/.test(each))
    return (JSON.parse(readFileSync(join(folder, name ?? ''), 'utf8')) as { token: string }).token
  } catch {
    return null // not there yet, or being replaced
  }
}

function filesIn(folder: string): string {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile())
  return names.map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'utf8')).join('\n')
}

function same(one: readonly unknown[], other: readonly unknown[]): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}
