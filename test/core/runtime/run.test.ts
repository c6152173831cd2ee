import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Socket } from 'unix-dgram'
import { ask } from '../../ask.ts'
import { without } from '../../native.ts'
import { mainOf, Program } from '../../program.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-run-'))
after(() => rmSync(folder, { recursive: true }))
/** Hearing what the service manager would hear wants the module that speaks to it. */
const skip = without('unix-dgram')

async function listen(path: string, onMessage: (message: string) => void): Promise<Socket> {
  const { default: unix } = await import('unix-dgram')
  const server = unix.createSocket('unix_dgram', (data) => onMessage(String(data)))
  server.bind(path)
  return server
}

const root = new URL('../../../', import.meta.url)

/** Writes a program and starts it. */
function start(name: string, body: string, env: Record<string, string> = {}): Program {
  return new Program(write(name, body), env)
}

function write(name: string, body: string): string {
  const file = join(folder, `${name}.ts`)
  writeFileSync(
    file,
    `import { run } from '${new URL('services/core/runtime/run.ts', root)}'
     import { ConfigError } from '${new URL('services/core/runtime/read-settings.ts', root)}'
     import { redact } from '${new URL('services/core/fleet/redact.ts', root)}'
     const readConfig = () => ({ state: ${JSON.stringify(join(folder, name))}, logLevel: 'debug', health: undefined, drainMs: 500 })
     await run({ name: 'sample', about: 'A sample.', redact, ${body} })`,
  )
  return file
}

const socketOf = (name: string): string => join(folder, name, 'run', 'sample.sock')

test('ready, healthy, told to stop, drained, exit 0; the service manager hears each step', { skip }, async () => {
  const notify = join(folder, 'notify.sock')
  const heard: string[] = []
  const server = await listen(notify, (message) => heard.push(message))
  const program = start(
    'good',
    `readConfig, start: async (config, life) => {
       life.stack.defer(() => life.log.info('released'))
       life.round('working')
       life.health.trouble('mail', 'nobody there')
       setInterval(() => undefined, 1000).unref()
       const keep = setInterval(() => undefined, 1000)
       life.stack.defer(() => clearInterval(keep))
     }`,
    { NOTIFY_SOCKET: notify },
  )
  await program.says('ready')
  assert.equal((await ask(socketOf('good'), '/healthz')).status, 200)
  const ready = await ask(socketOf('good'), '/readyz')
  assert.equal(ready.status, 503)
  assert.match(ready.text, /nobody there/)
  assert.equal((await ask(socketOf('good'), '/metrics')).status, 200)
  const { code } = await program.end()
  assert.equal(code, 0)
  assert.deepEqual(
    program.events.map((each) => each.event),
    ['ready', 'draining', 'released', 'stopped'],
  )
  server.close()
  assert.deepEqual(heard, ['WATCHDOG=1\nSTATUS=working', 'READY=1', 'STOPPING=1\nEXTEND_TIMEOUT_USEC=5500000'])
})

test('a start that takes long says how long it may take, before it is deaf to everything', { skip }, async () => {
  const notify = join(folder, 'long.sock')
  const heard: string[] = []
  const server = await listen(notify, (message) => heard.push(message))
  const database = join(folder, 'long.db')
  const program = start(
    'long',
    `readConfig, start: async (config, life) => {
       const { openSqliteStore } = await import('${new URL('services/core/store/sqlite/open-sqlite-store.ts', root)}')
       const { clock, chance, log, takesLong: onLong } = life
       life.stack.use(await openSqliteStore(${JSON.stringify(database)}, { clock, chance, log, onLong }))
       life.takesLong('growing', 90_000)
       const keep = setInterval(() => undefined, 1000)
       life.stack.defer(() => clearInterval(keep))
     }`,
    { NOTIFY_SOCKET: notify },
  )
  await program.says('ready')
  assert.equal((await program.end()).code, 0)
  server.close()
  const migrations = readdirSync(new URL('services/core/store/sqlite/file/migrations/', root))
    .filter((name) => /^\d/.test(name))
    .sort()
  assert.deepEqual(
    heard.map((each) => each.replace(/USEC=\d+/, 'USEC=…')),
    [
      'EXTEND_TIMEOUT_USEC=…\nSTATUS=checking the database',
      ...migrations.map((name) => `EXTEND_TIMEOUT_USEC=…\nSTATUS=changing tables: ${name}`),
      'EXTEND_TIMEOUT_USEC=…\nSTATUS=growing',
      'READY=1',
      'STOPPING=1\nEXTEND_TIMEOUT_USEC=…',
    ],
  )
  assert.match(heard.find((each) => each.includes('growing')) ?? '', /USEC=90000000/)
})

test('a program whose rounds take longer than a service manager waits is vouched for meanwhile', { skip }, async () => {
  const notify = join(folder, 'notify-slow.sock')
  const heard: string[] = []
  const vouched = Promise.withResolvers<void>()
  const server = await listen(notify, (message) => {
    heard.push(message)
    if (heard.length === 2) vouched.resolve()
  })
  const program = start(
    'slow',
    `readConfig, roundMs: () => 600_000, start: async (_c, life) => {
       const keep = setInterval(() => undefined, 1000)
       life.stack.defer(() => clearInterval(keep))
     }`,
    { NOTIFY_SOCKET: notify },
  )
  await vouched.promise
  assert.equal((await program.end()).code, 0)
  server.close()
  assert.deepEqual(heard, ['READY=1', 'WATCHDOG=1', 'STOPPING=1\nEXTEND_TIMEOUT_USEC=5500000'])
})

test('a second one with the same state folder is refused, the first lives on', async () => {
  const body = `readConfig, start: async (_c, life) => { const t = setInterval(() => undefined, 1000); life.stack.defer(() => clearInterval(t)) }`
  const first = start('twice', body)
  await first.says('ready')
  const second = start('twice', body)
  assert.equal((await second.ended).code, 78)
  assert.match(second.said, /is in use: the program already runs/)
  assert.equal((await ask(socketOf('twice'), '/healthz')).status, 200)
  await first.end('SIGKILL')
  const third = start('twice', body)
  await third.says('ready')
  assert.equal((await third.end()).code, 0)
})

test('wrong settings end with 78 and say what is wrong', async () => {
  const program = start(
    'wrong',
    `readConfig: () => { throw new ConfigError(['S2_X is odd']) }, start: async () => undefined`,
  )
  assert.equal((await program.ended).code, 78)
  assert.match(program.said, /S2_X is odd/)
})

test('the log and the readiness of a program are without secrets, also where the log escapes what stands before one', async () => {
  const program = start(
    'escaped',
    `readConfig, start: async (_config, { log, health, stack }) => {
      const token = ['ghp', 'a1B2'.repeat(9)].join('_')
      log.info('command ended', { said: 'first\\n' + token + '\\f' + 'ab'.repeat(32), why: [token], password: 'hunt' + 'er2' })
      health.trouble('remote', 'refused ' + token)
      const keep = setInterval(() => undefined, 1000)
      stack.defer(() => clearInterval(keep))
    }`,
  )
  await program.says('ready')
  const { text } = await ask(socketOf('escaped'), '/readyz')
  await program.end()
  assert.match(text, /refused \[redacted github-token\]/)
  assert.doesNotMatch(program.said + text, /a1B2|hunter2|abab/)
  const [ended] = program.eventsOf('command ended')
  assert.equal(ended?.said, 'first\n[redacted github-token]\f[redacted session-token]')
})

test('a fault anywhere ends with 1 after everything was released, and no secret is told', async () => {
  const token = 'ab'.repeat(32)
  const program = start(
    'fault',
    `readConfig, start: async (_c, life) => { life.stack.defer(() => life.log.info('released')); setTimeout(() => { throw new Error('boom ${token}') }, 10) }`,
  )
  assert.equal((await program.ended).code, 1)
  assert.equal(program.eventsOf('released').length, 1)
  assert.match(JSON.stringify(program.eventsOf('failed')), /boom \[redacted session-token\]/)
})

test('what does not drain in time is left, and said', async () => {
  const program = start(
    'slow',
    `readConfig, start: async (_c, life) => { setInterval(() => undefined, 1000); life.stack.defer(() => new Promise(() => undefined)) }`,
  )
  await program.says('ready')
  const { code } = await program.end()
  assert.equal(code, 1)
  assert.match(String(program.events.at(-1)?.event), /drain deadline passed/)
})

/** Runs a program, or the command line, with both streams in a file that counts as the journal, and answers the lines that came to it. */
function linesInJournal(argv: readonly string[], isJournal: boolean): string[] {
  const file = join(folder, 'journal')
  writeFileSync(file, '')
  const { dev, ino } = statSync(file, { bigint: true })
  const out = openSync(file, 'a')
  const env = { PATH: process.env.PATH, S2_STATE: folder, JOURNAL_STREAM: isJournal ? `${dev}:${ino}` : `${dev}:1` }
  spawnSync(process.execPath, argv, { env, stdio: ['ignore', out, out] })
  closeSync(out)
  return readFileSync(file, 'utf8').trimEnd().split('\n')
}

test('where the journal reads, each line begins with its priority, and nowhere else', async () => {
  const file = join(folder, 'levels.ts')
  writeFileSync(
    file,
    `import { openLog } from '${new URL('services/core/runtime/log.ts', root)}'
     const log = openLog('sample', 'debug', (text) => text, process.env)
     for (const level of ['error', 'warn', 'info', 'debug']) log[level]('two\\nlines')
     await log.end()`,
  )
  const marked = linesInJournal([file], true)
  assert.deepEqual(
    marked.map((line) => line.slice(0, 4)),
    ['<3>{', '<4>{', '<6>{', '<7>{'],
  )
  assert.equal(JSON.parse(marked[0]?.slice(3) ?? '').event, 'two\nlines')
  assert.ok(linesInJournal([file], false).every((line) => JSON.parse(line).program === 'sample'))
})

test('wrong settings are errors to the journal, line by line, and so is what a command could not do', () => {
  const wrong = write(
    'wrong',
    `readConfig: () => { throw new ConfigError(['S2_A is odd', 'S2_B is odd']) }, start: async () => {}`,
  )
  assert.deepEqual(linesInJournal([wrong], true), [
    '<3>s2-sample: wrong settings:',
    '<3>  S2_A is odd',
    '<3>  S2_B is odd',
  ])
  const late = write('late', `readConfig, start: async () => { throw new ConfigError(['cannot listen']) }`)
  assert.deepEqual(linesInJournal([late], true).slice(-2), ['<3>wrong settings:', '<3>  cannot listen'])
  const command = linesInJournal([mainOf('cli'), 'backup'], true)
  assert.ok(command.length > 0 && command.every((line) => line.startsWith('<3>')), command.join('\n'))
})
