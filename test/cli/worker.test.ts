/**
 * Workers by their keys, as the command line has them: with a bridge, an issuer and a git remote that are real. Folders stand
 * for hosts.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Incident } from '../../services/core/fleet/incident.ts'
import type { Worker } from '../../services/core/fleet/worker.ts'
import { makeIdentity } from '../../services/core/identity/identity-file.ts'
import { formatInvitation, makeSecret } from '../../services/core/identity/joining.ts'
import { publishCredential, readCredentials } from '../../services/core/spool/credentials.ts'
import { Neighbour, noPython } from '../core/store/sqlite-ground.ts'
import { freePort } from '../port.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'
import { type Outcome, run as runCommand } from './run-command.ts'

const root = mkdtempSync(join(tmpdir(), 's2-worker-test-'))
const REMOTE = join(root, 'fleet.git')
execFileSync('git', ['init', '--quiet', '--bare', '--initial-branch=main', REMOTE])

/** A git that notes what it is called with: argv is there for every user of the machine to read. */
const GIT_LOG = join(root, 'git.log')
const bin = join(root, 'bin')
const git = execFileSync('/bin/sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
mkdirSync(bin)
writeFileSync(join(bin, 'git'), `#!/bin/sh\nprintf '%s\\n' "$*" >>'${GIT_LOG}'\nexec '${git}' "$@"\n`, { mode: 0o755 })

const COMMON = { HOME: join(root, 'home'), PATH: `${bin}:${process.env.PATH}`, GIT_CONFIG_NOSYSTEM: '1' }
const LEAD = join(root, 'lead')
const port = await freePort()
const BRIDGE = `http://127.0.0.1:${port}`
const ORCHESTRATOR = { ...COMMON, S2_STATE: LEAD, S2_BRIDGE_URL: BRIDGE, S2_GIT_REMOTE: REMOTE }

let bridge: Program
let issuer: Program
async function startBridge(): Promise<void> {
  bridge = new Program(mainOf('bridge'), { ...ORCHESTRATOR, S2_LISTEN: `127.0.0.1:${port}` })
  await bridge.says('ready')
}
before(async () => {
  await startBridge()
  issuer = new Program(mainOf('cred-sync'), { ...ORCHESTRATOR, S2_ISSUER: 'yes', S2_GIT_POLL: '500ms' })
  await issuer.says('ready')
})
after(async () => {
  await issuer[Symbol.asyncDispose]()
  await bridge[Symbol.asyncDispose]()
  rmSync(root, { recursive: true, force: true })
})

type World = NonNullable<Parameters<typeof runCommand>[1]>

/** A command on the orchestrator's host. */
async function lead(argv: readonly string[], world: World = {}, env: World['env'] = {}): Promise<Outcome> {
  return await runCommand(argv, { folder: root, ...world, env: { ...ORCHESTRATOR, ...env } })
}

/** The same, which must succeed; its JSON. */
async function told<T>(argv: readonly string[], world: World = {}, env: World['env'] = {}): Promise<T> {
  const { code, out, err } = await lead([...argv, '--json'], world, env)
  assert.equal(code, 0, err)
  return JSON.parse(out) as T
}

async function invite(worker: string, ...argv: readonly string[]): Promise<string> {
  const { line } = await told<{ line: string }>(['worker', 'invite', worker, ...argv])
  return line
}

async function workerNow(agent: string): Promise<Worker | undefined> {
  return (await told<Worker[]>(['worker', 'list'])).find((each) => each.agent === agent)
}

/** A host with a state folder of its own. */
class Host {
  readonly state: string
  readonly identity: string

  constructor(name: string) {
    this.state = join(root, name)
    this.identity = join(this.state, 'keys/identity.json')
  }

  async s2(argv: readonly string[], world: World = {}): Promise<Outcome> {
    return await runCommand(argv, {
      folder: root,
      isAttended: false,
      ...world,
      env: { ...COMMON, S2_STATE: this.state },
    })
  }

  /** Joins by this line, as a script does it. */
  async join(line: string, ...argv: readonly string[]): Promise<Outcome> {
    return await this.s2(['worker', 'join', ...argv], { stdin: `${line}\n` })
  }

  /** Runs the cred-sync of this host until its credential is in force. */
  async fetch(settings: Record<string, string> = {}): Promise<void> {
    const env = { ...COMMON, S2_STATE: this.state, S2_GIT_POLL: '500ms', ...settings }
    await using program = new Program(mainOf('cred-sync'), env)
    await program.says('credential published')
  }

  /** Joins, and has its credential. */
  async enter(line: string): Promise<void> {
    const { code, err } = await this.join(line)
    assert.equal(code, 0, err)
    await this.fetch()
  }

  async send(text: string): Promise<Outcome> {
    return await this.s2(['send', 'orchestrator', text])
  }
}

/** The error of a command that failed, whole: an exit code, what happened, and what to do. */
function errorOf({ code, err }: Outcome): { readonly code: string; readonly message: string; readonly next: string } {
  assert.equal(code, 1, err)
  const { error } = JSON.parse(err.trim().split('\n').at(-1) ?? '') as { error: ReturnType<typeof errorOf> }
  assert.ok(error.message.length > 0 && (error.next ?? '').length > 0, err)
  return error
}

/** The Python bridge over the orchestrator's database. */
async function startPython(): Promise<Neighbour> {
  const script = join(import.meta.dirname, '../core/store/python-bridge.py')
  const python = new Neighbour(
    spawn('python3', [script, join(LEAD, 'bridge.db')], { stdio: ['pipe', 'pipe', 'inherit'], detached: true }),
  )
  await python.hear()
  return python
}

function filesInGit(): string {
  return execFileSync(git, ['--git-dir', REMOTE, 'ls-tree', '-r', '--name-only', 'main'], { encoding: 'utf8' })
}

test('a host joins over the bridge, and its messages reach the orchestrator', async () => {
  const invited = await lead(['worker', 'invite', '1', '--role', 'tests'])
  assert.match(invited.out, /^s2-join-\S+\n$/, 'standard output holds the line alone')
  assert.match(invited.err, /^The line lets one host join as s2-worker-1 \(tests\) within 1h\.\n/)
  assert.doesNotMatch(invited.err, /away/)
  assert.equal((await workerNow('s2-worker-1'))?.joinedAt, null)
  const host = new Host('one')
  const joined = await host.join(invited.out)
  assert.deepEqual(
    [joined.code, joined.out],
    [0, 'This host is s2-worker-1 now; s2-cred-sync brings its credential.\n'],
  )
  assert.match(
    joined.err,
    /s2-cred-sync, which brings the credential, is away .*\n {2}next: systemctl start s2-cred-sync/,
  )
  assert.equal(statSync(host.identity).mode & 0o777, 0o600)
  await host.fetch()
  const sent = await host.send('hello')
  assert.equal(sent.code, 0, sent.err)
  const again = await host.join(invited.out, '--json')
  assert.deepEqual(JSON.parse(again.out), { way: 'bridge', agent: 's2-worker-1', isAdmitted: true })
  const listed = await lead(['worker', 'list'])
  assert.match(listed.out, /^s2-worker-1 +tests +joined +\S+ +\S+ +\S+/m)
})

test('a line is used up by one host: another is refused with the reason', async () => {
  const line = await invite('2', '--role', 'tests')
  assert.equal((await new Host('two').join(line)).code, 0)
  const other = new Host('two-other')
  const { code, message, next } = errorOf(await other.join(line, '--json'))
  assert.equal(code, 'forbidden')
  assert.match(message, /^s2-worker-2 was refused: .*used by another host already/)
  assert.match(next, /s2 worker invite/)
  assert.ok(existsSync(other.identity), 'it keeps its keys: nobody signs a refusal')
  // A member that is refused under another name stays what it is.
  const one = new Host('one')
  const before = readFileSync(one.identity, 'utf8')
  const { message: why } = errorOf(await one.join(await invite('22', '--role', 'tests'), '--json'))
  assert.match(why, /the key of this host is that of s2-worker-1 already/)
  assert.equal(readFileSync(one.identity, 'utf8'), before)
})

test('while the bridge is away a host joins over git, and without git by a line that a person carries', async () => {
  const overGit = await invite('3', '--role', 'tests')
  const byHand = (await lead(['worker', 'invite', '4', '--role', 'tests'], {}, { S2_GIT_REMOTE: undefined })).out
  assert.match(byHand, /^s2-join-/)
  const [three, four] = [new Host('three'), new Host('four')]
  await bridge.end()
  const [left, carried] = await Promise.all([three.join(overGit, '--json'), four.join(byHand)])
  await startBridge()
  assert.deepEqual(JSON.parse(left.out), { way: 'git', agent: 's2-worker-3', remote: REMOTE })
  assert.equal(carried.code, 0, carried.err)
  assert.match(carried.out, /^s2-request-\S+\n$/, 'standard output holds the line alone')
  assert.match(carried.err, /^Neither the bridge nor .* took the request \(.*ECONNREFUSED.*\)\.\n.*s2 worker admit\n/)
  await until('the request in git is taken up', async () => (await workerNow('s2-worker-3'))?.joinedAt)
  await three.fetch()
  assert.equal((await three.send('over git')).code, 0)
  const admitted = await lead(['worker', 'admit'], { isAttended: false, stdin: carried.out })
  assert.equal(admitted.code, 0, admitted.err)
  assert.match(admitted.out, /^s2-worker-4 is admitted: host \S+, key \S+\n$/)
  await four.fetch()
  assert.equal((await four.send('by hand')).code, 0)
  const again = await told<Worker>(['worker', 'admit', carried.out.trim()])
  assert.equal(again.agent, 's2-worker-4', 'twice is once')
})

test('a host that refuses what it finds keeps what it has; people are told once, and once that it is over', async () => {
  const host = new Host('doubter')
  await host.enter(await invite('31', '--role', 'tests'))
  const file = 'credentials/s2-worker-31-credentials.json'
  const listed = () => execFileSync(git, ['-C', REMOTE, 'ls-tree', '--name-only', 'main', file], { encoding: 'utf8' })
  await until('its credential is in git', () => listed() !== '')
  const hostile = join(root, 'hostile.git')
  const work = join(root, 'hostile')
  execFileSync(git, ['clone', '--quiet', '--bare', REMOTE, hostile])
  execFileSync(git, ['clone', '--quiet', hostile, work], { stdio: 'ignore' })
  writeFileSync(join(work, file), '{}')
  const as = ['-c', 'user.name=t', '-c', 'user.email=t@example.org']
  execFileSync(git, ['-C', work, ...as, 'commit', '--quiet', '--all', '--message', 'not ours'])
  execFileSync(git, ['-C', work, 'push', '--quiet', 'origin', 'HEAD:main'], { stdio: 'ignore' })
  const refusals = async () =>
    (await told<Incident[]>(['incident', 'list', '--all'])).filter(({ cause }) =>
      cause.startsWith('credentials:refused:'),
    )
  const env = { ...COMMON, S2_STATE: host.state, S2_GIT_POLL: '500ms' }
  {
    await using sync = new Program(mainOf('cred-sync'), { ...env, S2_GIT_REMOTE: hostile })
    await until('an incident is open', async () => (await refusals()).length > 0)
    const [refusal] = await refusals()
    assert.equal(refusal?.agent, 's2-worker-31')
    assert.match(
      refusal?.summary ?? '',
      /the host of s2-worker-31 refuses .*it says: ".* is not the file that the list .* names/,
    )
    assert.match((await lead(['worker', 'list'])).out, /^s2-worker-31 +tests +refuses its credential /m)
    assert.equal((await host.send('still here')).code, 0, 'the one in force stays')
    assert.equal((await lead(['credential', 'rotate', 's2-worker-31'])).code, 0)
    await sync.says('credential published') // the bridge has it too, and says so
  }
  await using _ = new Program(mainOf('cred-sync'), env)
  await until('it is over', async () => (await refusals()).every(({ closedAt }) => closedAt !== null))
  assert.equal((await refusals()).length, 1)
  assert.equal((await workerNow('s2-worker-31'))?.refusal, null)
  const trail = (await lead(['audit', 'tail', '-n', '200', '--json'])).out.trim().split('\n')
  const acts = trail.map((line) => (JSON.parse(line) as { action: string }).action)
  assert.deepEqual(
    acts.filter((action) => /^credential_(refused|accepted)$/.test(action)),
    ['credential_refused', 'credential_accepted'],
  )
})

test('a list shows how long each invitation counts', async () => {
  await invite('32', '--role', 'tests', '--for', '10m')
  assert.match((await lead(['worker', 'list'])).out, /^s2-worker-32 +tests +invited for (10m|\d{3}s) more/m)
  await invite('32', '--for', '1ms')
  assert.match((await lead(['worker', 'list'])).out, /^s2-worker-32 +tests +invitation ended/m)
  const first = await invite('32')
  await new Host('thirty-two').enter(await invite('32'))
  assert.match((await lead(['worker', 'list'])).out, /^s2-worker-32 +tests +joined /m)
  const late = errorOf(await new Host('late').join(first, '--json'))
  assert.equal(late.code, 'forbidden', 'a later line takes the place of an earlier one')
  await invite('32')
  assert.match((await lead(['worker', 'list'])).out, /^s2-worker-32 +tests +joined, invited for 60m more/m)
  await told<Worker>(['worker', 'rename', '32', 'thirty-two'])
  assert.match((await lead(['worker', 'list'])).out, /^thirty-two +tests +(joined|credential waits) /m)
})

test('a request with line breaks is admitted from a terminal that gives it piece by piece', async () => {
  const line = (await lead(['worker', 'invite', '33', '--role', 'tests'], {}, { S2_GIT_REMOTE: undefined })).out
  const host = new Host('by-terminal')
  await bridge.end()
  const carried = (await host.join(line)).out.trim()
  await startBridge()
  const pieces = [carried.slice(0, 200), carried.slice(200, 400), carried.slice(400)]
  const ask = async (_: string, isWhole?: (text: string) => boolean): Promise<string> => {
    let text = ''
    for (const piece of pieces) {
      text += piece
      if (isWhole?.(text) !== false) return text
    }
    return text
  }
  const admitted = await lead(['worker', 'admit'], { ask })
  assert.match(admitted.out, /^s2-worker-33 is admitted: /, admitted.err)
})

test('keys of another fleet, and of an orchestrator, are not overwritten', async () => {
  const { key, recipient } = await makeIdentity()
  const { secret } = makeSecret()
  const foreign = formatInvitation({
    ...{ agent: 's2-worker-9', orchestrator: { key, recipient }, bridgeUrl: 'http://127.0.0.1:1' },
    ...{ remote: null, branch: 'main', secret, endsAt: Date.now() + 60_000 },
  })
  const host = new Host('five')
  await host.enter(await invite('5', '--role', 'tests'))
  for (const [folder, why] of [
    [host, /belongs to another fleet already, as s2-worker-5/],
    [new Host('lead'), /this is the host of an orchestrator/],
  ] as const) {
    const before = readFileSync(folder.identity, 'utf8')
    const { code, message } = errorOf(await folder.join(foreign, '--json'))
    assert.equal(code, 'conflict')
    assert.match(message, why)
    assert.equal(readFileSync(folder.identity, 'utf8'), before)
  }
  assert.equal(errorOf(await new Host('lead').join(foreign, '--force', '--json')).code, 'conflict')
  const left = JSON.parse((await host.join(foreign, '--force', '--json')).out) as { way: string; agent: string }
  assert.deepEqual([left.way, left.agent], ['line', 's2-worker-9'])
})

test('a host that was made anew keeps the conversation of its worker, and the host before it is out', async () => {
  const host = new Host('six')
  await host.enter(await invite('6', '--role', 'tests'))
  const { conversation, key } = (await workerNow('s2-worker-6')) ?? {}
  const copy = new Host('six-before')
  execFileSync('cp', ['-r', host.state, copy.state])
  rmSync(host.state, { recursive: true })
  const invited = await lead(['worker', 'invite', '6'])
  assert.match(invited.err, /s2-worker-6 \(tests\) within 1h; it takes the place of the host that is this worker now/)
  await host.enter(invited.out)
  const now = await workerNow('s2-worker-6')
  assert.equal(now?.conversation, conversation)
  assert.notEqual(now?.key, key)
  assert.equal((await host.send('from the new disk')).code, 0)
  const { code } = errorOf(await copy.s2(['send', 'orchestrator', 'from the old one', '--json']))
  assert.equal(code, 'unauthenticated')
})

test('a revoked worker is out at once: its link is cut, its messages refused, its file taken out of git', async () => {
  const host = new Host('seven')
  await host.enter(await invite('7', '--role', 'tests'))
  await using keepalive = new Program(mainOf('keepalive'), { ...COMMON, S2_STATE: host.state, S2_BEAT: '300s' })
  await keepalive.says('link open')
  const revoked = await told<{ revoked: string[] }>(['worker', 'revoke', '7'])
  assert.deepEqual(revoked, { revoked: ['s2-worker-7'] })
  // Its next beat is minutes away: it is told by the end of its link.
  await until('it is told', () => /does not let conv_\w+\/b speak/.test(keepalive.said))
  await keepalive.end()
  const refusal = errorOf(await host.s2(['send', 'orchestrator', 'still here', '--json']))
  assert.equal(refusal.code, 'unauthenticated')
  assert.match(refusal.next, /revoked or replaced is invited again: s2 worker invite/)
  await until('its file is gone', () => !filesInGit().includes('s2-worker-7'))
  assert.match((await lead(['worker', 'list'])).out, /^s2-worker-7 +tests +revoked/m)
  assert.equal(errorOf(await lead(['credential', 'rotate', '7', '--json'])).code, 'conflict')
  // It may come back, by a new invitation, with the keys that it has.
  await host.enter(await invite('7'))
  const back = await host.send('back again')
  assert.equal(back.code, 0, back.err)
  // What is left of a conversation that was ended is not what it speaks by, whatever its name.
  await publishCredential(host.state, {
    ...{ session: 'conv_0000000000000000/b', agent: 's2-worker-7', role: 'tests', bridgeUrl: BRIDGE },
    ...{ token: '0a'.repeat(32), createdAt: Date.now() - 60_000, expiresAt: Date.now() + 3_600_000 },
  })
  const beside = await host.send('beside an old credential')
  assert.equal(beside.code, 0, beside.err)
})

test('a worker that nobody sits at is prepared here, and its host needs the file alone', async () => {
  const file = join(root, 'eight.json')
  const prepared = await told<Worker & { identity: string }>(['worker', 'prepare', '8', '--role', 'x', '--out', file])
  assert.deepEqual([prepared.agent, prepared.identity, prepared.host], ['s2-worker-8', file, null])
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const host = new Host('eight')
  await host.fetch({ S2_IDENTITY: file })
  assert.equal((await host.send('from the cloud')).code, 0)
  const over = await lead(['worker', 'prepare', '8', '--out', file])
  assert.deepEqual([over.code, over.out], [64, ''])
  assert.match(over.err, /eight\.json exists already\n {2}next: /)
  const anew = await lead(['worker', 'prepare', '8', '--out', 'eight-anew.json'])
  assert.match(anew.out, /^s2-worker-8 is admitted by the keys in eight-anew\.json: .*takes the place of the host/)
  assert.equal(errorOf(await host.s2(['send', 'orchestrator', 'late', '--json'])).code, 'unauthenticated')
})

test('a worker has another name, and new tokens, without its host doing anything', async () => {
  const host = new Host('ten')
  await host.enter(await invite('10', '--role', 'tests'))
  const renamed = await told<Worker>(['worker', 'rename', '10', 'gpu-box', '--role', 'models'])
  assert.deepEqual([renamed.agent, renamed.role], ['gpu-box', 'models'])
  await host.fetch()
  const endOf = async (): Promise<number> =>
    (await told<{ id: string; expiresAt: number }[]>(['conversation', 'list'])).find(
      ({ id }) => id === renamed.conversation,
    )?.expiresAt ?? 0
  const end = await endOf()
  const { serial } = await told<{ agent: string; serial: number }>([
    'credential',
    'rotate',
    'gpu-box',
    '--overlap',
    '0s',
  ])
  assert.ok(serial > renamed.serial)
  assert.ok(Math.abs((await endOf()) - end) < 60_000, 'the lifetime is the fleet’s, not this command’s')
  assert.equal(errorOf(await host.s2(['send', 'orchestrator', 'old token', '--json'])).code, 'unauthenticated')
  await host.fetch()
  assert.equal((await host.send('new token')).code, 0)
  const spoken = await lead(['credential', 'rotate', renamed.conversation ?? ''])
  assert.equal(spoken.code, 1, 'a session is named with its side')
  const bySession = await lead(['credential', 'rotate', `${renamed.conversation}/b`])
  assert.equal(bySession.out, 'gpu-box has new tokens, and its credential is published\n')
})

test('a foreign agent has a conversation by tokens that are shown once', async () => {
  const create = ['conversation', 'create', '--role-b', 'reviewer', '--agent-b', 'my-script']
  const silent = await lead(create)
  assert.deepEqual([silent.code, silent.out], [64, ''])
  assert.match(silent.err, /known to nobody\n {2}next: add --show-tokens; .*s2 worker invite/)
  const opened = await told<{ id: string; tokens: { a: string; b: string } }>([...create, '--show-tokens'])
  assert.match(opened.tokens.b, /^[0-9a-f]{64}$/)
  const hidden = await lead(['credential', 'rotate', `${opened.id}/b`])
  assert.equal(hidden.code, 64)
  assert.match(hidden.err, /known to nobody\n {2}next: add --show-token/)
  const { token } = await told<{ token: string }>(['credential', 'rotate', `${opened.id}/b`, '--show-token'])
  assert.match(token, /^[0-9a-f]{64}$/)
  assert.notEqual(token, opened.tokens.b)
  const own = await lead(['credential', 'rotate', `${opened.id}/a`])
  assert.equal(own.out, `${opened.id}/a has a new token\n`, 'the own end is put in force here, and not shown')
})

test('a worker stands behind a conversation of the Python bridge, whose end a keeps its token', {
  skip: noPython,
}, async () => {
  await using python = await startPython()
  const made = await python.call('create_conversation', {
    my_role: 's2-orchestrator',
    partner_role: 'worker-73-tests',
  })
  const id = String(made.conversation_id)
  const asA = { conversation_id: id, session_id: 'a', token: String(made.a) }
  const near = await lead(['worker', 'adopt', `${id.slice(0, -1)}z`])
  assert.match(near.err, new RegExp(`no open conversation .*\n +next: did you mean ${id}\\?`))
  const other = await lead(['worker', 'adopt', `${id}/a`])
  assert.match(other.err, /a worker takes end b\n/)
  const said = await lead(['worker', 'adopt', id])
  assert.equal(said.code, 0, said.err)
  assert.match(said.err, new RegExp(`join as s2-worker-73 \\(tests\\) within 1h behind ${id}\\.\n`))
  assert.match(said.err, /end b has a new token; end a keeps its own\.\n$/)
  assert.match((await lead(['worker', 'list'])).out, new RegExp(`^s2-worker-73 .* more +${id}$`, 'm'))

  const host = new Host('seventy-three')
  await host.enter(said.out)
  assert.equal((await host.send('from the worker')).code, 0)
  const { messages } = (await python.call('check_messages', asA)) as { messages: { message: string }[] }
  assert.deepEqual(
    messages.map(({ message }) => message),
    ['from the worker'],
  )
  await python.call('send_to_partner', { ...asA, message: 'from Python' })
  await using _keepalive = new Program(mainOf('keepalive'), { ...COMMON, S2_STATE: host.state })
  await until('the worker beats', async () => (await python.call('check_partner_status', asA)).alive === true)
  const inbox = join(host.state, 'inbox/new')
  await until('it has the message', () => existsSync(inbox) && readdirSync(inbox).length === 1)
  assert.match((await lead(['worker', 'list'])).out, new RegExp(`^s2-worker-73 .* joined +${id} `, 'm'))
  await told(['credential', 'rotate', '73', '--overlap', '0s'])
  await python.call('check_messages', asA)
  const kept = (await readCredentials(LEAD)).credentials.map(({ session }) => session)
  assert.ok(!kept.includes(`${id}/a`), 'nobody here speaks for end a')

  const rotated = await lead(['credential', 'rotate', `${id}/a`, '--show-token'])
  assert.match(rotated.err, /there the old one is void now/)
  const [, token = ''] = /: ([0-9a-f]{64})$/m.exec(rotated.out) ?? []
  await python.call('check_messages', { ...asA, token })
  assert.equal((await lead(['worker', 'revoke', '73'])).code, 0)
  python.say({ tool: 'check_messages', arguments: { ...asA, token } })
  assert.match(String((await python.hear()).error), /ended/)
})

test('a worker is named where the role of its end names none', { skip: noPython }, async () => {
  await using python = await startPython()
  const made = await python.call('create_conversation', { my_role: 'boss', partner_role: 'co\nder' })
  const id = String(made.conversation_id)
  const unnamed = await lead(['worker', 'adopt', id])
  assert.equal(unnamed.code, 64)
  assert.match(unnamed.err, new RegExp(`names no worker's number\n +next: add it: s2 worker adopt ${id} 3`))
  const odd = await lead(['worker', 'adopt', id, '74'])
  assert.equal(odd.code, 64)
  assert.match(odd.err, /cannot be a worker's\n +next: add --role/)
  const adopted = await told<{ agent: string; role: string; conversation: string; line: string }>([
    ...['worker', 'adopt', `${id}/b`, '74', '--role', 'code'],
  ])
  assert.deepEqual([adopted.agent, adopted.role, adopted.conversation], ['s2-worker-74', 'code', id])
})

test('a host with both roles joins its own fleet by options alone, and once', async () => {
  const [folder, stub] = [join(root, 'etc'), join(root, 'systemd')]
  for (const each of [folder, stub]) mkdirSync(each)
  writeFileSync(join(folder, 's2.env'), `S2_BRIDGE_URL=${BRIDGE}\nS2_GIT_REMOTE=${REMOTE}\n`)
  const units = ['bridge', 'watchdog', 'cred-sync', 'keepalive', 'worker-cred-sync', 'worker-keepalive']
  const list = units.map((unit) => `s2-${unit}.service enabled enabled`).join('\n')
  const systemctl = `#!/bin/sh\ncase " $* " in *' list-unit-files '*) echo '${list}' ;; esac\n`
  writeFileSync(join(stub, 'systemctl'), systemctl, { mode: 0o755 })
  const host = new Host('both')
  const env = { ...COMMON, S2_STATE: host.state, S2_GIT_POLL: '500ms' }
  await using _sync = new Program(mainOf('cred-sync'), env)
  await using _keepalive = new Program(mainOf('keepalive'), { ...COMMON, S2_STATE: host.state })
  const init = async (...argv: string[]): Promise<Outcome> => {
    const places = ['--folder', folder, '--state', LEAD, '--worker-state', host.state]
    const world = { folder: root, env: { ...COMMON, PATH: `${stub}:${COMMON.PATH}` } }
    return await runCommand(['init', '--role', 'both', ...places, ...argv], world)
  }
  const first = await init('--start', '--worker', '20:tests', '--worker', '21:code review')
  assert.equal(first.code, 0, first.err)
  assert.match(first.err, /this host has joined as s2-worker-20\n.*this host is in the fleet: 1 session/, first.out)
  assert.match(first.out, /on the host of s2-worker-21, .*\n.*\n {7}s2 init --role worker\n {7}s2-join-\S+\n/)
  assert.doesNotMatch(first.out, /s2-worker-20/, 'nothing is left to do for the own one')
  const again = await init('--worker', '20:tests')
  assert.equal(again.code, 0, again.err)
  assert.match(again.err, /s2-worker-20 is in the fleet already/)
  assert.match(again.out, /Nothing is left to do/)
  assert.equal((await workerNow('s2-worker-21'))?.role, 'code review')
})

test('an observer lists what it may read; a worker is told what is not its to see', async () => {
  const seat = join(root, 'wall')
  const created = await lead(['observer', 'create', 'wall', '--out', seat])
  assert.equal(created.code, 0, created.err)
  const asObserver = async (...argv: string[]) =>
    await runCommand([...argv, '--json'], { folder: root, env: { ...COMMON, S2_STATE: seat } })
  for (const what of ['incident', 'conversation', 'task']) {
    const { code, out, err } = await asObserver(what, 'list')
    assert.equal(code, 0, `${what}: ${err}`)
    assert.ok(Array.isArray(JSON.parse(out)))
  }
  assert.match((await asObserver('conversation', 'list')).out, /s2-worker-1/)
  assert.equal(errorOf(await new Host('one').s2(['incident', 'list', '--json'])).code, 'forbidden')
})

test('whatever fails has a code, what happened, and what to do', async () => {
  const ended = await invite('11', '--role', 'tests', '--for', '1ms')
  const host = new Host('eleven')
  await until('the line has ended', () => Date.now() > (JSON.parse(bodyOf(ended))[8] as number))
  const cases: [Promise<Outcome>, string, RegExp][] = [
    [host.join(ended, '--json'), 'expired', /the invitation of s2-worker-11 ended at 20/],
    [host.join('', '--json'), 'invalid', /no invitation was given/],
    [host.join('rubbish', '--json'), 'invalid', /not an invitation/],
    [host.join(`${ended.slice(0, -9)}`, '--json'), 'invalid', /a part of it is missing/],
    [host.s2(['worker', 'list', '--json']), 'not_found', /no fleet can be reached/],
    [lead(['worker', 'invite', 'No Name', '--role', 'x', '--json']), 'invalid', /cannot be a worker's name/],
    [lead(['worker', 'invite', 'orchestrator', '--role', 'x', '--json']), 'invalid', /may be called orchestrator/],
    [lead(['worker', 'rename', '1', 'orchestrator', '--json']), 'invalid', /may be called orchestrator/],
    [
      lead(['worker', 'prepare', 'orchestrator', '--role', 'x', '--out', 'taken.json', '--json']),
      ...(['invalid', /may be called orchestrator/] as const),
    ],
    [lead(['worker', 'admit', 's2-request-AAAA.', '--json']), 'invalid', /the request to join cannot be read/],
    [lead(['worker', 'admit', 's2-request-AAAA', '--json']), 'invalid', /a part of it is missing/],
    [lead(['worker', 'admit', 'rubbish', '--json']), 'invalid', /not a request to join/],
    [lead(['worker', 'revoke', '100', '--json']), 'not_found', /no worker s2-worker-100$/],
    [lead(['worker', 'revoke', '11', '100', '--json']), 'not_found', /s2-worker-100; none of the 2 was revoked$/],
    [lead(['worker', 'rename', '100', 'x', '--json']), 'not_found', /no worker s2-worker-100/],
    [lead(['worker', 'rename', '1', 's2-worker-2', '--json']), 'conflict', /there is a worker s2-worker-2 already/],
    [lead(['credential', 'rotate', 's2-worker-l', '--json']), 'not_found', /no worker "s2-worker-l"/],
    [lead(['credential', 'rotate', '11', '--json']), 'conflict', /has not joined yet/],
    [new Host('two').s2(['worker', 'list', '--json']), 'not_found', /no fleet can be reached/],
    [new Host('one').s2(['worker', 'list', '--json']), 'forbidden', /not its administration/],
  ]
  for (const [outcome, code, message] of cases) {
    const error = errorOf(await outcome)
    assert.match(error.message, message)
    assert.equal(error.code, code, error.message)
  }
  assert.ok(!existsSync(host.identity))
  const roleless = await lead(['worker', 'invite', '12'])
  assert.deepEqual([roleless.code, roleless.out], [64, ''])
  assert.match(roleless.err, /no role is given for s2-worker-12\n {2}next: add --role/)
  const timeless = await lead(['worker', 'invite', '12', '--role', 'x', '--for', '0s'])
  assert.deepEqual([timeless.code, timeless.out], [64, ''])
  assert.match(timeless.err, /'0s' is invalid. It must be more than nothing/)
  const nothing = await lead(['worker', 'rename', '1'])
  assert.match(nothing.err, /neither a name nor a role is given\n {2}next: /)
  writeFileSync(join(root, 'damaged.json'), '{', { mode: 0o600 })
  const damaged = await runCommand(['worker', 'join', '--json', await invite('12', '--role', 'x')], {
    env: { ...COMMON, S2_STATE: join(root, 'twelve'), S2_IDENTITY: join(root, 'damaged.json') },
  })
  assert.match(errorOf(damaged).next, /moves it aside and is invited again: s2 worker invite/)
})

test('nothing secret stood in the arguments of git', () => {
  const said = readFileSync(GIT_LOG, 'utf8')
  assert.match(said, /refs\/s2\/requests\//, 'git was asked by way of the one that notes')
  for (const secret of [/s2-join-/, /s2-request-/, /AGE-SECRET-KEY/, /[\s=:][0-9a-f]{64}(?!\w)/]) {
    const lines = said.split('\n').filter((line) => secret.test(line) && !line.includes('refs/s2/requests/'))
    assert.deepEqual(lines, [])
  }
})

function bodyOf(line: string): string {
  return Buffer.from(line.slice('s2-join-'.length), 'base64url').toString('utf8')
}
