import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import unix from 'unix-dgram'

const folder = mkdtempSync(join(tmpdir(), 's2-run-'))
after(() => rmSync(folder, { recursive: true }))
const root = new URL('../../../', import.meta.url)

/** Writes a program and starts it; its events can be waited for by name. */
function start(name: string, body: string, env: Record<string, string> = {}) {
  const state = join(folder, name)
  const file = join(folder, `${name}.ts`)
  writeFileSync(
    file,
    `import { run } from '${new URL('services/core/runtime/run.ts', root)}'
     import { ConfigError } from '${new URL('services/core/runtime/config.ts', root)}'
     import { redact } from '${new URL('services/core/fleet/redact.ts', root)}'
     const readConfig = () => ({ state: ${JSON.stringify(state)}, logLevel: 'debug', health: undefined, drainMs: 500 })
     await run({ name: 'sample', redact, ${body} })`,
  )
  const child = spawn(process.execPath, [file], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: root,
  })
  const events: Record<string, unknown>[] = []
  const waiting = new Set<() => void>()
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  createInterface(child.stdout).on('line', (line) => {
    events.push(JSON.parse(line))
    for (const check of waiting) check()
  })
  const event = (wanted: string) =>
    new Promise<Record<string, unknown>>((resolve) => {
      const check = (): void => {
        const found = events.find((each) => each.event === wanted)
        if (found !== undefined) resolve(found)
      }
      waiting.add(check)
      check()
    })
  const ended = once(child, 'close').then(([code]) => ({ code: code as number, stderr, events }))
  return { child, event, ended, socket: join(state, 'run', 'sample.sock') }
}

function ask(socketPath: string, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path }, (response) => {
      let body = ''
      response.on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    })
      .on('error', reject)
      .end()
  })
}

test('ready, healthy, told to stop, drained, exit 0; the service manager hears each step', async () => {
  const notify = join(folder, 'notify.sock')
  const heard: string[] = []
  const server = unix.createSocket('unix_dgram', (data) => void heard.push(String(data)))
  server.bind(notify)
  const { child, event, ended, socket } = start(
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
  await event('ready')
  assert.equal((await ask(socket, '/healthz')).status, 200)
  const ready = await ask(socket, '/readyz')
  assert.equal(ready.status, 503)
  assert.match(ready.body, /nobody there/)
  assert.equal((await ask(socket, '/metrics')).status, 200)
  child.kill('SIGTERM')
  const { code, events } = await ended
  assert.equal(code, 0)
  assert.deepEqual(
    events.map((each) => each.event),
    ['ready', 'draining', 'released', 'stopped'],
  )
  server.close()
  assert.deepEqual(heard, ['WATCHDOG=1\nSTATUS=working', 'READY=1', 'STOPPING=1\nEXTEND_TIMEOUT_USEC=5500000'])
})

test('a start that takes long says how long it may take, before it is deaf to everything', async () => {
  const notify = join(folder, 'long.sock')
  const heard: string[] = []
  const server = unix.createSocket('unix_dgram', (data) => void heard.push(String(data)))
  server.bind(notify)
  const database = join(folder, 'long.db')
  const { child, event, ended } = start(
    'long',
    `readConfig, start: async (config, life) => {
       const { openSqliteStore } = await import('${new URL('services/core/store/sqlite/sqlite.ts', root)}')
       const { clock, chance, log, takesLong: onLong } = life
       life.stack.use(await openSqliteStore(${JSON.stringify(database)}, { clock, chance, log, onLong }))
       life.takesLong('growing', 90_000)
       const keep = setInterval(() => undefined, 1000)
       life.stack.defer(() => clearInterval(keep))
     }`,
    { NOTIFY_SOCKET: notify },
  )
  await event('ready')
  child.kill('SIGTERM')
  assert.equal((await ended).code, 0)
  server.close()
  assert.deepEqual(
    heard.map((each) => each.replace(/USEC=\d+/, 'USEC=…')),
    [
      'EXTEND_TIMEOUT_USEC=…\nSTATUS=checking the database',
      'EXTEND_TIMEOUT_USEC=…\nSTATUS=changing tables: 0001-begin.sql',
      'EXTEND_TIMEOUT_USEC=…\nSTATUS=growing',
      'READY=1',
      'STOPPING=1\nEXTEND_TIMEOUT_USEC=…',
    ],
  )
  assert.match(heard[2] ?? '', /USEC=90000000/)
})

test('a program whose rounds take longer than a service manager waits is vouched for meanwhile', async () => {
  const notify = join(folder, 'notify-slow.sock')
  const heard: string[] = []
  const vouched = Promise.withResolvers<void>()
  const server = unix.createSocket('unix_dgram', (data) => {
    heard.push(String(data))
    if (heard.length === 2) vouched.resolve()
  })
  server.bind(notify)
  const { child, ended } = start(
    'slow',
    `readConfig, roundMs: () => 600_000, start: async (_c, life) => {
       const keep = setInterval(() => undefined, 1000)
       life.stack.defer(() => clearInterval(keep))
     }`,
    { NOTIFY_SOCKET: notify },
  )
  await vouched.promise
  child.kill('SIGTERM')
  assert.equal((await ended).code, 0)
  server.close()
  assert.deepEqual(heard, ['READY=1', 'WATCHDOG=1', 'STOPPING=1\nEXTEND_TIMEOUT_USEC=5500000'])
})

test('a second one with the same state folder is refused, the first lives on', async () => {
  const body = `readConfig, start: async (_c, life) => { const t = setInterval(() => undefined, 1000); life.stack.defer(() => clearInterval(t)) }`
  const first = start('twice', body)
  await first.event('ready')
  const second = await start('twice', body).ended
  assert.equal(second.code, 78)
  assert.match(second.stderr, /is in use: the program runs already/)
  assert.equal((await ask(first.socket, '/healthz')).status, 200)
  first.child.kill('SIGKILL')
  await first.ended
  const third = start('twice', body)
  await third.event('ready')
  third.child.kill('SIGTERM')
  assert.equal((await third.ended).code, 0)
})

test('wrong settings end with 78 and say what is wrong', async () => {
  const { code, stderr } = await start(
    'wrong',
    `readConfig: () => { throw new ConfigError(['S2_X is odd']) }, start: async () => undefined`,
  ).ended
  assert.equal(code, 78)
  assert.match(stderr, /S2_X is odd/)
})

test('a fault anywhere ends with 1 after everything was released, and no secret is told', async () => {
  const token = 'ab'.repeat(32)
  const { code, events } = await start(
    'fault',
    `readConfig, start: async (_c, life) => { life.stack.defer(() => life.log.info('released')); setTimeout(() => { throw new Error('boom ${token}') }, 10) }`,
  ).ended
  assert.equal(code, 1)
  assert.ok(events.some((each) => each.event === 'released'))
  const failed = events.find((each) => each.event === 'failed')
  assert.match(JSON.stringify(failed), /boom \[redacted\]/)
})

test('what does not drain in time is left, and said', async () => {
  const { child, event, ended } = start(
    'slow',
    `readConfig, start: async (_c, life) => { setInterval(() => undefined, 1000); life.stack.defer(() => new Promise(() => undefined)) }`,
  )
  await event('ready')
  child.kill('SIGTERM')
  const { code, events } = await ended
  assert.equal(code, 1)
  assert.match(String(events.at(-1)?.event), /drain deadline passed/)
})
