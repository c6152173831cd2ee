/** Plants secrets in real programs, and looks for them in every trace that those leave. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import { identityFile, makeIdentity, writeIdentity } from '#identity/identity-file.ts'
import { publishCredential } from '#spool/credentials.ts'
import { processes } from '../services/local/process-tree.ts'
import { ask } from './ask.ts'
import { type Host, Stage } from './keepalive/processes.ts'
import { mainOf, Program } from './program.ts'
import { until } from './until.ts'

/** Looks like a token of GitHub, and is in no file. */
const gitHub = ['ghp', randomBytes(18).toString('hex')].join('_')
const password = `pw-${randomBytes(9).toString('hex')}`
const ageKey = ['AGE', 'SECRET', 'KEY', `1${randomBytes(29).toString('hex').toUpperCase()}`].join('-')
const gitPassword = randomBytes(16).toString('hex')
const strangersToken = randomBytes(32).toString('hex')
const TEXT = `take ${gitHub}\nand ${ageKey}, password: ${password}`
/** What may be in no file; the tokens of sessions have files of their own. */
const IN_TEXTS = [gitHub, ageKey, password]

let stage: Stage
let bridge: Program
let keepalive: Program
let host: Host

before(async () => {
  stage = await Stage.open()
  bridge = await stage.bridge()
  host = await stage.host('s2-worker-1')
  // What was signed in the second a bridge began in, or the one after, it does not believe.
  const reader = stage.as(host.b, host.opened.tokens.b)
  await until('the bridge believes a signature', async () => Array.isArray(await reader.unacked(host.b, 0, 1)))
  await publishCredential(host.state, host.credential)
  keepalive = stage.keepalive(host, { S2_LOG_LEVEL: 'debug' })
  await keepalive.says('link open')
})

after(async () => {
  await stage?.[Symbol.asyncDispose]()
})

function canaries(): string[] {
  return [...IN_TEXTS, gitPassword, strangersToken, host.opened.tokens.a, host.opened.tokens.b]
}

function demandNone(of: readonly string[], text: string, where: string): void {
  for (const [index, canary] of of.entries()) assert.ok(!text.includes(canary), `canary ${index} is in ${where}`)
}

/** The arguments and the environments of all that this test started, and of what that started. */
function tracesOfProcesses(): { where: string; text: string }[] {
  const all = processes()
  const family = new Set([process.pid])
  for (let size = 0; size !== family.size; ) {
    size = family.size
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid)
  }
  family.delete(process.pid)
  return [...family].flatMap((pid) =>
    ['cmdline', 'environ'].flatMap((name) => {
      try {
        return [{ where: `/proc/${pid}/${name}`, text: readFileSync(`/proc/${pid}/${name}`, 'utf8') }]
      } catch {
        return [] // it has ended
      }
    }),
  )
}

/** All files below a folder, with their bytes. */
function filesBelow(folder: string): { where: string; text: string }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ where: path, text: readFileSync(path, 'latin1') }))
}

/** Looks through processes, logs, metrics, readiness and the names of files. */
async function demandNoTraces(programs: readonly Program[], sockets: readonly string[]): Promise<void> {
  const wanted = canaries()
  for (const { where, text } of tracesOfProcesses()) demandNone(wanted, text, where)
  for (const program of programs) demandNone(wanted, program.said, 'a log')
  for (const socket of sockets) {
    for (const path of ['/metrics', '/readyz', '/healthz']) demandNone(wanted, (await ask(socket, path)).text, path)
  }
  const names = readdirSync(stage.folder, { recursive: true }).join('\n')
  demandNone(wanted, names, 'the name of a file')
}

test('what agents tell each other leaves no secret in files, logs, arguments, environments or metrics', async () => {
  const { admin } = stage
  await host.outbox.put({ kind: 'send', from: host.b, draft: { text: TEXT, action: gitHub, files: [`${gitHub}.txt`] } })
  await stage.as(host.a, host.opened.tokens.a).send(host.a, 'canary', { text: JSON.stringify({ note: TEXT }) })
  const wanted = { priority: 'P1', role: 'tests', deadline: null, createdBy: host.a } as const
  await admin.addTask({ ...wanted, id: 'canary', description: TEXT, holder: host.b })
  const worker = stage.as(host.b, host.opened.tokens.b)
  const leased = await worker.leaseTask(host.b, 'one')
  const result = { exitCode: 0, signal: null, tail: TEXT }
  const report = { task: 'canary', epoch: leased?.epoch ?? 0, state: 'completed', progress: null, result } as const
  await host.outbox.put({ kind: 'report', holder: host.b, report })
  demandNone(
    IN_TEXTS,
    filesBelow(join(host.state, 'outbox'))
      .map(({ text }) => text)
      .join('\n'),
    'the outbox',
  )
  await until('all is carried', async () => (await host.outbox.names()).length === 0)
  await until('the inbox has it', async () => (await host.inbox.list('new')).length >= 2)

  const refused = stage.as(host.b, strangersToken).send(host.b, 'x', { text: TEXT })
  await assert.rejects(
    refused,
    (error: Error) => !canaries().some((each) => `${error.message}${error.stack}`.includes(each)),
  )
  const wrong = worker.report(host.b, { ...report, task: `no ${gitHub}` })
  await assert.rejects(wrong, (error: Error) => !error.message.includes(gitHub))

  const folder = join(stage.folder, 'backups')
  const run = promisify(execFile)
  const env = { PATH: process.env.PATH, S2_STATE: join(stage.folder, 'bridge') }
  const { stdout, stderr } = await run(process.execPath, [mainOf('cli'), 'backup', '--to', folder], { env })
  demandNone(canaries(), stdout + stderr, 'what s2 backup says')
  assert.ok(readdirSync(folder).some((name) => name.endsWith('.db')))

  const files = filesBelow(stage.folder)
  assert.ok(
    files.some(({ where }) => where.endsWith('bridge.db')),
    'it looked where no database is',
  )
  for (const { where, text } of files) demandNone(IN_TEXTS, text, where)
  await demandNoTraces(
    [bridge, keepalive],
    [join(host.state, 'run/keepalive.sock'), join(stage.folder, 'bridge/run/bridge.sock')],
  )
  const [mail] = await stage.as(host.a, host.opened.tokens.a).unacked(host.a, 0, 10)
  assert.match(mail?.text ?? '', /\[redacted github-token\]\nand \[redacted age-key\], password: \[redacted password\]/)
  assert.deepEqual([mail?.action, mail?.files], ['[redacted github-token]', ['[redacted github-token].txt']])
})

test('what another program writes into the database is delivered without its secrets', async () => {
  const before = (await host.inbox.list('new')).length
  const db = new Database(join(stage.folder, 'bridge/bridge.db'))
  db.pragma('busy_timeout = 10000')
  db.prepare(
    `INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp, read)
      VALUES (?, 'a', 'b', ?, ?, '2026-11-29T04:05:06.000000', 0)`,
  ).run(host.opened.id, TEXT, JSON.stringify({ action_type: `see ${gitHub}`, files_involved: [] }))
  db.close()
  await until('it is delivered', async () => (await host.inbox.list('new')).length > before)
  const inbox = filesBelow(join(host.state, 'inbox'))
  assert.ok(inbox.some(({ text }) => text.includes('see [redacted github-token]')))
  for (const { where, text } of inbox) demandNone(IN_TEXTS, text, where)
  await demandNoTraces([bridge, keepalive], [])
})

test('a password for git is in no argument, environment, log or readiness', async () => {
  const home = join(stage.folder, 'home')
  mkdirSync(home)
  writeFileSync(join(home, '.netrc'), `machine 127.0.0.1 login fleet password ${gitPassword}\n`, { mode: 0o600 })
  const remote = await gitServer()
  const { port } = remote.server.address() as AddressInfo
  const state = join(stage.folder, 'cred-sync')
  const orchestrator = await makeIdentity()
  const identity = await makeIdentity()
  const bridgeUrl = 'http://127.0.0.1:1'
  const membership = { agent: 's2-worker-1', orchestrator, bridgeUrl, remote: null, branch: 'main' }
  await writeIdentity(identityFile(state), { ...identity, membership })
  await using credSync = new Program(mainOf('cred-sync'), {
    S2_STATE: state,
    S2_GIT_REMOTE: `http://127.0.0.1:${port}/fleet.git`,
    S2_LOG_LEVEL: 'debug',
    HOME: home,
  })
  await credSync.says('trouble')
  remote.server.close()
  assert.ok(remote.isAsked(), 'git never used the password')
  const wanted = [...canaries(), identity.signingKey, identity.ageKey]
  for (const { where, text } of remote.traces) demandNone(wanted, text, where)
  demandNone(wanted, credSync.said, 'a log')
  await demandNoTraces([credSync], [join(state, 'run/cred-sync.sock')])
})

/** Asks for a password, and echoes what it got in a refusal. Looks at all processes while git waits. */
async function gitServer(): Promise<{
  server: Server
  isAsked: () => boolean
  traces: { where: string; text: string }[]
}> {
  const traces: { where: string; text: string }[] = []
  let isAsked = false
  const server = createServer(({ headers }, response) => {
    traces.push(...tracesOfProcesses())
    const given = Buffer.from(headers.authorization?.split(' ')[1] ?? '', 'base64').toString()
    isAsked ||= given.includes(gitPassword)
    if (given === '') response.writeHead(401, { 'www-authenticate': 'Basic realm="fleet"' }).end()
    else
      response
        .writeHead(403, { 'content-type': 'text/plain' })
        .end(`https://${given}@127.0.0.1/ is refused, password=${gitPassword}\n`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, isAsked: () => isAsked, traces }
}

test('no service leaves a core, which would hold every token it had', () => {
  const root = join(import.meta.dirname, '..')
  assert.match(readFileSync(join(root, 'systemd/s2-.service.d/10-common.conf'), 'utf8'), /^LimitCORE=0$/m)
  assert.match(readFileSync(join(root, 'docker/compose.yaml'), 'utf8'), /ulimits: \{ core: 0 \}/)
})
