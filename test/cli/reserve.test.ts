/**
 * Files that agents share: real git, a bridge over HTTP, and agents with credentials of their own, in one clone and in two. Every
 * command and every hook is a process.
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { promisify } from 'node:util'
import { S2Error } from '#fleet/errors.ts'
import { sessionId } from '#fleet/session-id.ts'
import { publishCredential } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import { keptReservationList } from '#spool/reservation-list.ts'
import { Ground } from '../bridge/ground.ts'
import { McpClient } from '../mcp-client.ts'
import { mainOf } from '../program.ts'

const root = realpathSync(mkdtempSync(join(tmpdir(), 's2-reserve-')))
const config = join(root, 'gitconfig')
const REMOTE = join(root, 'remote.git')
let ground: Ground
let conversations = 0

interface Said {
  readonly code: number
  readonly out: string
  readonly err: string
}

const execute = promisify(execFile)

async function runIn(file: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<Said> {
  try {
    const { stdout, stderr } = await execute(file, [...args], { cwd, env, encoding: 'utf8' })
    return { code: 0, out: stdout, err: stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, out: stdout, err: stderr }
  }
}

/** An agent with a host of its own, or at least a state folder, and a clone that it works in. */
class Agent {
  readonly name: string
  readonly state: string
  readonly folder: string
  readonly session

  private constructor(name: string, state: string, folder: string, conversation: string) {
    this.name = name
    this.state = state
    this.folder = folder
    this.session = sessionId(conversation, 'b')
  }

  /** In a clone of its own, or in that of another. */
  static async join(beside?: Agent): Promise<Agent> {
    conversations += 1
    const name = `s2-worker-${conversations}`
    const { opened } = await ground.channel(name)
    const state = join(root, `state-${conversations}`)
    mkdirSync(state)
    const agent = new Agent(name, state, beside?.folder ?? join(root, `clone-${conversations}`), opened.id)
    await publishCredential(state, {
      session: agent.session,
      token: opened.tokens.b,
      agent: name,
      role: 'tests',
      bridgeUrl: ground.bridge.url,
      createdAt: Date.now(),
      expiresAt: Date.now() + 3_600_000,
    })
    if (beside !== undefined) return agent
    await runIn('git', ['clone', '--quiet', REMOTE, agent.folder], root, agent.env)
    const installed = await agent.s2('hooks', 'install', '--git')
    assert.equal(installed.code, 0, installed.err)
    return agent
  }

  /** This machine may be busy: a check that takes long must not let a commit pass. */
  get env(): NodeJS.ProcessEnv {
    return { ...this.hasty, S2_COMMIT_WAIT: '60s' }
  }

  /** The same with a wait as it is by default. */
  get hasty(): NodeJS.ProcessEnv {
    const own = { HOME: root, S2_STATE: this.state, GIT_CONFIG_GLOBAL: config, GIT_CONFIG_NOSYSTEM: '1' }
    return { PATH: process.env.PATH, ...own }
  }

  s2(...args: string[]): Promise<Said> {
    return runIn(process.execPath, [mainOf('cli'), ...args], this.folder, this.env)
  }

  git(...args: string[]): Promise<Said> {
    return runIn('git', args, this.folder, this.env)
  }

  /** For what must go well. */
  async must(...args: string[]): Promise<string> {
    const said = await this.git(...args)
    assert.equal(said.code, 0, said.err)
    return said.out
  }

  write(path: string | Buffer, text = `${Math.random()}\n`): void {
    if (typeof path === 'string') mkdirSync(dirname(join(this.folder, path)), { recursive: true })
    writeFileSync(
      typeof path === 'string' ? join(this.folder, path) : Buffer.concat([Buffer.from(`${this.folder}/`), path]),
      text,
    )
  }

  async commit(...options: string[]): Promise<Said> {
    await this.must('add', '--all')
    return await this.git('commit', '--quiet', '-m', 'a change', ...options)
  }

  async mail(): Promise<string[]> {
    return (await ground.store.unacked(this.session, 0, 100)).map(({ text }) => text)
  }

  async reserve(...args: string[]): Promise<Said> {
    const said = await this.s2('reserve', ...args)
    assert.equal(said.code, 0, said.err)
    return said
  }
}

before(async () => {
  ground = await Ground.open()
  writeFileSync(
    config,
    '[user]\n  name = t\n  email = t@example.org\n[init]\n  defaultBranch = main\n[advice]\n  detachedHead = false\n',
  )
  const seed = join(root, 'seed')
  const env = { PATH: process.env.PATH, HOME: root, GIT_CONFIG_GLOBAL: config, GIT_CONFIG_NOSYSTEM: '1' }
  mkdirSync(join(seed, 'src'), { recursive: true })
  for (const file of ['README.md', 'src/a.ts', 'src/b.ts', 'src/c.ts'])
    writeFileSync(join(seed, file), `${file}\n1\n2\n3\n4\n5\n6\n7\n`)
  for (const args of [
    ['init', '--quiet'],
    ['add', '.'],
    ['commit', '--quiet', '-m', 'begin'],
    ['clone', '--quiet', '--bare', '.', REMOTE],
  ])
    assert.equal((await runIn('git', args, seed, env)).code, 0)
})

beforeEach(async () => {
  for (const { id } of await ground.store.conversations())
    await ground.store.releaseFiles(sessionId(id, 'b'), { repository: null, globs: null }, sessionId(id, 'b'))
})

after(async () => {
  await ground[Symbol.asyncDispose]()
  rmSync(root, { recursive: true, force: true })
})

test('two clones on two hosts: a commit that touches what the other has is refused, and says what to do', async () => {
  const [one, other] = [await Agent.join(), await Agent.join()]
  const reserved = await one.reserve('src/', '--for', '1h', '--note', 'the new table')
  assert.match(
    reserved.out,
    new RegExp(`^${one.name} has "src/\\*\\*" until .* UTC, 60 min from now \\("the new table"\\)\\n$`),
  )
  other.write('src/a.ts')
  const refused = await other.commit()
  assert.equal(refused.code, 1)
  assert.match(refused.err, /nothing was committed: it changes files that another agent has/)
  assert.match(refused.err, new RegExp(`"src/a.ts": ${one.name} has "src/\\*\\*" until`))
  assert.match(refused.err, new RegExp(`next: leave these files out .*s2 send ${one.name} 'TEXT'`))
  await other.must('restore', '--staged', '--worktree', 'src/a.ts')
  other.write('README.md')
  assert.equal((await other.commit()).code, 0)
  one.write('src/a.ts')
  assert.equal((await one.commit()).code, 0, 'its holder may')
  const listed = await other.s2('reservations')
  assert.match(listed.out, new RegExp(`${one.name} +exclusive +.*src/\\*\\*`))
  assert.match((await other.s2('reserve', 'src/a.ts')).err, new RegExp(`no files were reserved: ${one.name} has`))
  assert.match((await one.s2('release', 'README.md')).out, /nothing was released/)
  assert.match((await one.s2('release', 'src/')).out, /released "src\/\*\*"/)
  other.write('src/a.ts')
  assert.equal((await other.commit()).code, 0)
})

test('where the hooks of git are installed, the list of reservations is there before the first commit', async () => {
  const one = await Agent.join()
  await one.reserve('src/c.ts')
  const other = await Agent.join()
  assert.deepEqual(
    (await keptReservationList(other.state))?.reservations.map(({ glob }) => glob),
    ['src/c.ts'],
  )
})

test('tools read paths as commands do: from the folder of the client, by what is there, in every clone', async () => {
  const [one, other] = [await Agent.join(), await Agent.join()]
  mkdirSync(join(one.folder, 'src/[id]'))
  await using client = new McpClient(one.env, [], join(one.folder, 'src'))
  await client.begin()
  const reserved = await client.call('reserve_files', { paths: ['a.ts', '[id]', '../README.md', '*.sql'] })
  assert.equal(reserved.isError, false, JSON.stringify(reserved.said))
  const paths = (said: { path: string }[]): string[] => said.map(({ path }) => path).sort()
  const globs = ['README.md', 'src/*.sql', 'src/\\[id]/**', 'src/a.ts']
  assert.deepEqual(paths(reserved.said.reserved), globs)
  const kept = await keptReservationList(one.state)
  assert.deepEqual(kept?.reservations.map(({ glob }) => glob).sort(), globs, 'hooks of git know it without the bridge')
  other.write('src/a.ts')
  assert.match((await other.commit()).err, new RegExp(`"src/a.ts": ${one.name} has "src/a.ts"`))
  const released = await client.call('release_files', { paths: ['a.ts', join(one.folder, 'README.md')] })
  assert.deepEqual(paths(released.said.released), ['README.md', 'src/a.ts'])
  assert.equal((await other.commit()).code, 0)
  assert.deepEqual(paths((await client.call('release_files')).said.released), ['src/*.sql', 'src/\\[id]/**'])
  const outside = await client.call('reserve_files', { paths: ['/elsewhere/x'] })
  assert.equal(outside.said.error.code, 'invalid')
})

test('two agents in one clone: the state folder says who commits', async () => {
  const one = await Agent.join()
  const other = await Agent.join(one)
  await one.reserve('src/a.ts')
  await other.reserve('src/b.ts')
  one.write('src/a.ts')
  one.write('src/b.ts')
  assert.match((await one.commit()).err, new RegExp(`"src/b.ts": ${other.name} has`))
  assert.match((await other.commit()).err, new RegExp(`"src/a.ts": ${one.name} has`))
  assert.equal((await one.git('commit', '--quiet', '-m', 'mine', '--', 'src/a.ts')).code, 0, 'a part of the index')
  assert.equal((await other.git('commit', '--quiet', '-am', 'mine')).code, 0)
  assert.deepEqual(await one.mail(), [])
  await one.s2('release', '--all')
})

test('of agents that race for files one gets them, again and again', async () => {
  const [one, other] = [await Agent.join(), await Agent.join()]
  for (let round = 0; round < 4; round += 1) {
    const said = await Promise.all([
      one.s2('reserve', 'src/', `r${round}.ts`),
      other.s2('reserve', `r${round}.ts`, 'src/**/*.ts'),
    ])
    assert.deepEqual(said.map(({ code }) => code).sort(), [0, 1], said.map(({ err }) => err).join())
    const held = new Set((await ground.store.reservations()).map(({ agent }) => agent))
    assert.equal(held.size, 1)
    await Promise.all([one.s2('release', '--all'), other.s2('release', '--all')])
  }
})

test('removed, renamed and oddly named files are files', async () => {
  const [one, other] = [await Agent.join(), await Agent.join()]
  const names = ['odd/two\nlines.ts', 'odd/"quoted" \\ name.ts', 'odd/[id].tsx', 'odd/\u00e9.ts']
  for (const name of names) one.write(name)
  one.write(Buffer.from([0x6f, 0x64, 0x64, 0x2f, 0xff, 0xfe]))
  assert.equal((await one.commit()).code, 0)
  await one.must('push', '--quiet', 'origin', 'HEAD')
  await other.must('pull', '--quiet')
  await one.reserve('src/', ...names)
  for (const [words, path] of [
    [['rm', '--quiet', 'src/c.ts'], 'src/c.ts'],
    [['mv', 'src/c.ts', 'moved.ts'], 'src/c.ts'],
    [['mv', 'README.md', 'src/README.md'], 'src/README.md'],
    ...names.map((name) => [['mv', name, 'away.ts'], name] as const),
  ] as const) {
    await other.must(...words)
    const refused = await other.commit()
    assert.equal(refused.code, 1, path)
    assert.ok(refused.err.includes(`${JSON.stringify(path)}: ${one.name}`), `${path} in ${refused.err}`)
    await other.must('reset', '--quiet', '--hard')
  }
  await one.s2('release', '--all')
  await one.reserve('odd/')
  other.write(Buffer.from([0x6f, 0x64, 0x64, 0x2f, 0xff, 0xfe]))
  assert.equal((await other.commit()).code, 1)
})

test('merging what its holder committed is no change; resolving a conflict in its files is one', async () => {
  const [one, other] = [await Agent.join(), await Agent.join()]
  one.write('src/a.ts', 'one\n')
  assert.equal((await one.commit()).code, 0)
  await one.must('push', '--quiet', 'origin', 'HEAD:holder')
  other.write('src/a.ts', 'other\n')
  other.write('other.md')
  assert.equal((await other.commit()).code, 0)
  await one.reserve('src/')
  await other.must('fetch', '--quiet')
  assert.notEqual((await other.git('merge', '--quiet', 'origin/holder')).code, 0, 'they conflict')
  other.write('src/a.ts', 'resolved\n')
  const refused = await other.commit()
  assert.match(refused.err, new RegExp(`"src/a.ts": ${one.name} has`))
  assert.ok(!refused.err.includes('other.md'))
  await other.must('merge', '--abort')
  await other.must('reset', '--quiet', '--hard', 'HEAD~1')
  other.write('elsewhere.md')
  assert.equal((await other.commit()).code, 0)
  await other.must('merge', '--quiet', '--no-edit', 'origin/holder')
  await other.must('merge', '--quiet', '--no-edit', '--no-ff', '--no-commit', 'HEAD~1').catch(() => undefined)
  assert.deepEqual(await one.mail(), [])
})

test('a commit past the check is seen and told; one that was checked, or touches nothing, is not', async () => {
  const [one, other] = [await Agent.join(), await Agent.join()]
  await one.reserve('src/a.ts')
  other.write('src/b.ts')
  assert.equal((await other.commit('--no-verify')).code, 0)
  assert.deepEqual(await one.mail(), [])
  other.write('src/a.ts')
  const past = await other.commit('--no-verify')
  assert.equal(past.code, 0)
  assert.match(past.err, /was not checked before it was made, and changes files that another agent has/)
  assert.match(past.err, /its holder and the orchestrator are told/)
  const commit = (await other.must('rev-parse', 'HEAD')).trim().slice(0, 12)
  const [told] = await one.mail()
  assert.match(
    told ?? '',
    new RegExp(`^${other.name} made the commit ${commit} in .* past the check .* It changes "src/a.ts"`),
  )
  const lead = await ground.store.unacked(sessionId(other.session.slice(0, -2), 'a'), 0, 10)
  assert.equal(lead.length, 1)
  other.write('src/b.ts')
  await other.must('add', '--all')
  assert.equal((await other.git('commit', '--quiet', '--amend', '--no-edit', '--no-verify')).code, 0)
  assert.equal((await one.mail()).length, 1, 'the amended commit changes nothing of it anew')
  const acts = (await ground.store.audit(0, 10_000)).filter(({ action }) => action === 'unchecked_commit')
  assert.equal(acts.length, 1)
  await other.must('revert', '--no-edit', 'HEAD') // git asks no hook before it
  assert.equal((await one.mail()).length, 2, 'what git makes by itself is seen as well')
})

test('while the bridge is away the last list decides, and says how old it is', async () => {
  const [one, other] = [await Agent.join(), await Agent.join()]
  await one.reserve('src/')
  other.write('README.md')
  assert.equal((await other.commit()).code, 0, 'this keeps the list')
  await ground.stop()
  try {
    other.write('src/a.ts')
    const refused = await other.commit()
    assert.equal(refused.code, 1)
    assert.match(refused.err, /by the list of .* ago/)
    const past = await other.commit('--no-verify')
    assert.match(past.err, /are told as soon as the bridge can be reached/)
    assert.equal((await new Outbox(other.state).names()).length, 2)
    renameSync(join(other.state, 'agents/reservations.json'), join(other.state, 'gone'))
    other.write('src/b.ts')
    const open = await other.commit()
    assert.equal(open.code, 0, 'nothing is known: the commit is made')
    assert.match(open.err, /was not checked against the files that others reserved/)
  } finally {
    await ground.restart()
  }
})

test('what was reserved or released stays so when the bridge goes away right after, and only the kept list is older', async (t) => {
  const agent = await Agent.join()
  await agent.reserve('README.md')
  const before = await keptReservationList(agent.state)
  const { reservations } = ground.store
  t.after(() => Object.assign(ground.store, { reservations }))
  const unavailable = async () => Promise.reject(new S2Error('unavailable', 'the disk is away'))
  for (const away of [unavailable, () => new Promise<never>(() => undefined)]) {
    ground.store.reservations = away
    const reserved = await agent.reserve('src/', '--json')
    assert.deepEqual(
      (JSON.parse(reserved.out) as { glob: string }[]).map(({ glob }) => glob),
      ['src/**'],
    )
    assert.match(reserved.err, /^s2: while the bridge is away commits are checked by the list of before this: /m)
    assert.deepEqual(await keptReservationList(agent.state), before)
  }
  ground.store.reservations = unavailable
  const released = await agent.s2('release', 'src/')
  assert.deepEqual([released.code, released.out], [0, `${agent.name} released "src/**"\n`], released.err)
  assert.match(released.err, /by the list of before this: /)
})

/** A call that is not answered is given up after 15 s and more: a hook asks for less than one, on a machine however busy. */
const CALL_MS = 14_000

test('a bridge that takes a call and never answers holds no commit for as long as a call may take', async () => {
  const agent = await Agent.join()
  const silent = spawn(
    process.execPath,
    [
      '-e',
      "require('net').createServer(() => {}).listen(0, '127.0.0.1', function () { console.log(this.address().port) })",
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  )
  try {
    const port = await new Promise<string>((resolve) =>
      silent.stdout.once('data', (data) => resolve(String(data).trim())),
    )
    await publishCredential(agent.state, {
      session: agent.session,
      token: 'a'.repeat(64),
      agent: agent.name,
      role: 'tests',
      bridgeUrl: `http://127.0.0.1:${port}`,
      createdAt: Date.now() + 1,
      expiresAt: Date.now() + 3_600_000,
    })
    agent.write('README.md')
    await agent.must('add', '--all')
    const began = performance.now()
    const said = await runIn('git', ['commit', '--quiet', '-m', 'a change'], agent.folder, agent.hasty)
    const tookMs = performance.now() - began
    assert.equal(said.code, 0, said.err)
    assert.match(said.err, /by the list of .* ago: the fleet does not answer/)
    assert.ok(tookMs < CALL_MS, `${tookMs} ms`)
  } finally {
    silent.kill()
  }
})

test('globs are typed from where one stands, by their absolute paths, and for folders that are there', async () => {
  const agent = await Agent.join()
  mkdirSync(join(agent.folder, 'src/v1.2'))
  agent.write('app/[id]/page.tsx')
  const sub = { ...agent, folder: join(agent.folder, 'src') }
  const typed = ['a.ts', 'v1.2', '../README.md', join(agent.folder, 'app/[id]/page.tsx'), '*.sql']
  const said = await runIn(process.execPath, [mainOf('cli'), 'reserve', ...typed, '--json'], sub.folder, agent.env)
  assert.equal(said.code, 0, said.err)
  const made = JSON.parse(said.out) as { glob: string; repository: string[] }[]
  assert.deepEqual(
    made.map(({ glob }) => glob),
    ['src/a.ts', 'src/v1.2/**', 'README.md', 'app/\\[id]/page.tsx', 'src/*.sql'],
  )
  assert.equal(made[0]?.repository[0], REMOTE.toLowerCase().replace(/\.git$/, ''))
  assert.match(made[0]?.repository.at(-1) ?? '', /^root:[0-9a-f]{40}$/)
})

test('the hooks are taken away without a trace, also the marks of all worktrees', async () => {
  const agent = await Agent.join()
  const settings = readFileSync(join(agent.folder, '.git/config'), 'utf8')
  agent.write('README.md')
  assert.equal((await agent.commit()).code, 0)
  assert.ok(!existsSync(join(agent.folder, '.git/s2-checked')), 'the commit took its mark')
  await agent.must('worktree', 'add', '--quiet', '--detach', join(root, 'tree'))
  const tree = join(root, 'tree')
  const other = await Agent.join()
  await other.reserve('README.md')
  writeFileSync(join(tree, 'README.md'), 'of another\n')
  const refused = await runIn('git', ['commit', '--quiet', '-am', 'a change'], tree, agent.env)
  assert.match(refused.err, new RegExp(`"README.md": ${other.name} has`))
  await other.s2('release', '--all')
  writeFileSync(join(tree, 'README.md'), 'in a tree\n')
  const said = await runIn(
    'git',
    ['commit', '--quiet', '-am', 'empty message', '--allow-empty-message', '-m', ''],
    tree,
    agent.env,
  )
  assert.equal(said.code, 0, said.err)
  await agent.s2('hooks', 'uninstall', '--git')
  assert.ok(!existsSync(join(agent.folder, '.git/hooks/pre-commit')))
  assert.equal(readFileSync(join(agent.folder, '.git/config'), 'utf8'), settings)
})
