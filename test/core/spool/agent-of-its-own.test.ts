/** An agent with a user of its own: it shares inbox and outbox with the services, may read its credential, and nothing else. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'

const SERVICE = 20_001
const AGENT = 20_002
/** Of both, beside a group of their own. */
const GROUP = 30_001
/** What the installer lets an agent write, who is a user apart. */
const AGENT_FOLDERS =
  /^agent_folders='(.*)'$/m.exec(readFileSync('deploy/install/agent-apart.sh', 'utf8'))?.[1]?.split(' ') ?? []
/** Not in the folder of this run, which no other user may enter. */
const base = mkdtempSync('/tmp/s2-agent-')
const state = join(base, 'state')
after(() => rmSync(base, { recursive: true, force: true }))

/** Runs lines as one of the two users, with a tight umask as the units have it. */
function as(uid: number, lines: string): string {
  const script = `
    import { readdirSync, renameSync, writeFileSync, readFileSync, mkdirSync } from 'node:fs'
    import { Inbox } from '${process.cwd()}/services/core/spool/inbox.ts'
    import { Outbox } from '${process.cwd()}/services/core/spool/outbox.ts'
    import { publishCredential, readCredentials } from '${process.cwd()}/services/core/spool/credentials.ts'
    import { answerHook } from '${process.cwd()}/services/core/agents/answer-hook.ts'
    import { publishClientSession, readClientSessions } from '${process.cwd()}/services/core/agents/client-sessions-folder.ts'
    import { HookReports } from '${process.cwd()}/services/core/agents/hook-reports.ts'
    import { HeldTasks } from '${process.cwd()}/services/core/spool/held-tasks.ts'
    import { isReservationListWanted, keepReservationList, keptReservationList } from '${process.cwd()}/services/core/spool/reservation-list.ts'
    import { RunningTasks } from '${process.cwd()}/services/core/spool/running-tasks.ts'
    import { TaskLogWriter } from '${process.cwd()}/services/core/spool/task-log.ts'
    import { TaskSessions } from '${process.cwd()}/services/worker/clients/task-sessions.ts'
    import { DaySpending } from '${process.cwd()}/services/worker/clients/day-spending.ts'
    import { after as sessionAfter, report } from '${process.cwd()}/test/core/agents/reports.ts'
    import { SessionLocks } from '${process.cwd()}/services/core/spool/session-lock.ts'
    import { credential, letter, READER } from '${process.cwd()}/test/core/spool/sample.ts'
    process.umask(0o077)
    process.setgroups([${GROUP}]); process.setgid(${uid}); process.setuid(${uid})
    const state = process.argv[1]
    const faults = []
    const inbox = new Inbox(state, (fault) => faults.push(fault))
    const outbox = new Outbox(state, (fault) => faults.push(fault))
    const refused = async (act) => { try { await act(); return 'done' } catch (error) { return error.code } }
    console.log(JSON.stringify(await (async () => { ${lines} })()))`
  return execFileSync(process.execPath, ['--input-type=module', '-e', script, state], { encoding: 'utf8' }).trim()
}

function layFolders(): void {
  chmodSync(base, 0o755)
  for (const [name, mode] of [
    ['', 0o710],
    ['inbox', 0o2770],
    ['outbox', 0o2770],
    ['agents', 0o2750],
    ...AGENT_FOLDERS.filter((name) => name.includes('/') || name === 'held').map((name) => [name, 0o2770] as const),
    ['credentials', 0o2750],
    ['run', 0o700],
    ['git', 0o700],
    ['watcher', 0o700],
  ] as const) {
    mkdirSync(join(state, name))
    chownSync(join(state, name), SERVICE, GROUP)
    chmodSync(join(state, name), mode)
  }
}

test('it takes, acks and sends, and can read its credential and change nothing else', {
  skip: process.getuid?.() !== 0,
}, () => {
  layFolders()
  assert.equal(
    as(
      SERVICE,
      'await publishCredential(state, credential()); await inbox.recover(); return await inbox.put(letter(1))',
    ),
    'true',
  )
  const agent = as(
    AGENT,
    `const taken = (await inbox.take(5)).map(({ id }) => id)
    const { credentials, faults: wrong } = await readCredentials(state)
    await using locks = new SessionLocks(state)
    return [taken, await inbox.ack([1]), credentials.length, wrong, faults, await locks.hold(READER),
      typeof await outbox.put({ kind: 'send', from: READER, draft: { text: 'hello' } })]`,
  )
  assert.deepEqual(JSON.parse(agent), [[1], [1], 1, [], [], true, 'string'])
  const harm = as(
    AGENT,
    `return [
      await refused(() => publishCredential(state, credential())),
      await refused(() => writeFileSync(state + '/credentials/x.json', '')),
      await refused(() => readdirSync(state + '/git')),
      await refused(() => readdirSync(state + '/run')),
      await refused(() => writeFileSync(state + '/watcher/inbox-running.json', '')),
      await refused(() => renameSync(state + '/inbox', state + '/other')),
      await refused(() => mkdirSync(state + '/logs')),
    ]`,
  )
  assert.deepEqual(JSON.parse(harm), ['unavailable', ...Array(6).fill('EACCES')])
  const service = as(
    SERVICE,
    `const names = await outbox.names()
    const item = await outbox.read(names[0])
    await inbox.forget(await inbox.list('done'))
    await outbox.done(names[0])
    return [item.draft.text, await inbox.list('done'), await outbox.names(), faults]`,
  )
  assert.deepEqual(JSON.parse(service), ['hello', [], [], []])
  const [name = ''] = readdirSync(join(state, 'outbox', 'carried'))
  assert.equal(as(AGENT, `return await outbox.outcome('${name}')`), '"carried"')
  assert.equal(statSync(join(state, 'inbox', 'new')).mode & 0o7777, 0o2770)
})

test('in a folder that is shared with nobody everything is its owner’s alone', {
  skip: process.getuid?.() !== 0,
}, () => {
  rmSync(state, { recursive: true })
  mkdirSync(state)
  chownSync(state, SERVICE, SERVICE)
  as(SERVICE, 'await publishCredential(state, credential()); return await inbox.put(letter(1))')
  for (const name of ['inbox', 'inbox/new', 'credentials'])
    assert.equal(statSync(join(state, name)).mode & 0o7777, 0o700)
  assert.equal(statSync(join(state, 'inbox', 'new', '1.json')).mode & 0o777, 0o600)
})

test('what its client tells by hooks reaches the services, who alone publish what is known of it', {
  skip: process.getuid?.() !== 0,
}, () => {
  rmSync(state, { recursive: true })
  layFolders()
  as(
    SERVICE,
    'const reports = new HookReports(state); await reports.ensure(); await inbox.recover(); return await inbox.put(letter(1))',
  )
  const hook = `
    const reports = new HookReports(state)
    const stop = report({ hook_event_name: 'Stop' }, 1_750_000_000_000)
    const { isBlocked } = await answerHook(state, stop.event, null, stop.at)
    return [isBlocked, reports.put(stop, process.pid)]`
  assert.equal(as(AGENT, hook), '[true,true]')
  assert.equal(as(AGENT, hook), '[false,true]')
  const held = `{ session: READER, task: 'task-7', epoch: 1, incarnation: 'x', by: null, process: null, place: null, takenAt: 1, work: 0, lost: null, ended: null }`
  assert.equal(as(AGENT, `await new HeldTasks(state).put(${held}); return 'kept'`), '"kept"')
  const service = `
    const taken = await new HookReports(state).take(10)
    await publishClientSession(state, sessionAfter({ hook_event_name: 'Stop' }))
    return [taken.map(({ event }) => event.kind), (await new HeldTasks(state).list()).length]`
  assert.deepEqual(JSON.parse(as(SERVICE, service)), [['turn_ended', 'turn_ended'], 1])
  const agent = `return [(await readClientSessions(state)).length,
    await refused(() => publishClientSession(state, sessionAfter({ hook_event_name: 'Stop' }))),
    await refused(() => writeFileSync(state + '/agents/door.json', ''))]`
  assert.deepEqual(JSON.parse(as(AGENT, agent)), [1, 'unavailable', 'EACCES'])
})

test('the list that its commits are checked by is kept for it by the services, and it cannot change it', {
  skip: process.getuid?.() !== 0,
}, () => {
  rmSync(state, { recursive: true })
  layFolders()
  const list = '{ at: 5, reservations: [] }'
  assert.equal(as(AGENT, `await keepReservationList(state, ${list}); return await keptReservationList(state)`), 'null')
  assert.equal(as(SERVICE, 'return await isReservationListWanted(state)'), 'true', 'nobody can ask for it')
  as(SERVICE, `await keepReservationList(state, ${list}); return 'kept'`)
  const seen = as(
    AGENT,
    'await keepReservationList(state, { at: 6, reservations: [] }); return (await keptReservationList(state))?.at ?? null',
  )
  assert.equal(seen, '5')
})

test('what `s2 work` notes of its tasks is kept where the agent may write', {
  skip: process.getuid?.() !== 0,
}, () => {
  rmSync(state, { recursive: true })
  layFolders()
  const worked = as(
    AGENT,
    `const running = new RunningTasks(state)
    await running.begin({ session: READER, task: 't-1', epoch: 1, worker: { pid: 1, startTicks: '1', namespace: '' } })
    const log = new TaskLogWriter(state, (error) => faults.push(String(error)))
    log.write('t-1', 'printed')
    await log.settled()
    await new TaskSessions(state, 'claude').note('t-1', '/', 'a1')
    const spending = new DaySpending(state, { wall: () => 0 }, 'UTC')
    await spending.add({ inputTokens: 1, outputTokens: 1, cachedTokens: 0, costUsd: 1, turns: 1 })
    return [faults, (await running.list()).length, spending.today.costUsd]`,
  )
  assert.deepEqual(JSON.parse(worked), [[], 1, 1])
})
