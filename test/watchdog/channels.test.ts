import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Alert } from '#fleet/incident.ts'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import {
  execChannel,
  logChannel,
  openChannels,
  TELL_TIMEOUT_MS,
  webhookChannel,
} from '../../services/watchdog/alert-channels.ts'
import { readConfig } from '../../services/watchdog/config.ts'
import { isOver } from '../process-state.ts'
import { until } from '../until.ts'

const TOKEN = '0123456789abcdef'.repeat(4)

const alert: Alert = {
  incident: {
    id: 7,
    cause: 'silent:s2-worker-3',
    kind: 'silent',
    agent: 's2-worker-3',
    summary: `s2-worker-3 was not heard for 60s, token=${TOKEN}`,
    openedAt: 0,
    closedAt: null,
    outcome: null,
    retold: 0,
  },
  event: 'opened',
  channel: 'any',
  attempts: 0,
}

const forever = new AbortController().signal
const env = { PATH: process.env.PATH }

/** The system's clock, but for the one wait that is the channel's time limit: that ends when `expire` is called. */
function expiringClock(): { clock: Clock; expire(): void } {
  const expired = Promise.withResolvers<void>()
  const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    ms === TELL_TIMEOUT_MS ? expired.promise : systemClock.sleep(Math.min(ms, 50), signal)
  return { clock: { ...systemClock, sleep }, expire: expired.resolve }
}

async function folder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 's2-alert-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

async function receiver(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void,
): Promise<AsyncDisposable & { readonly url: URL }> {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => answer(request, response, body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: new URL(`http://127.0.0.1:${port}/hooks/canary`),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

test('the log is always a channel, the others as configured', () => {
  const names = (more: Readonly<Record<string, string>>): string[] =>
    openChannels(readConfig({ S2_STATE: '/tmp/s2', ...more }), systemClock, recordingLog()).map(({ name }) => name)
  assert.deepEqual(names({}), ['log'])
  assert.deepEqual(names({ S2_ALERT_EXEC: 'true', S2_ALERT_WEBHOOK: 'http://127.0.0.1:1/' }), [
    'log',
    'exec',
    'webhook',
  ])
})

test('log: one line for each event, without secrets', async () => {
  const log = recordingLog()
  await logChannel(log).tell(alert, forever)
  await logChannel(log).tell({ ...alert, event: 'closed', incident: { ...alert.incident, closedAt: 1000 } }, forever)
  assert.deepEqual(
    log.records.map(({ level, event, fields }) => [level, event, fields.cause, fields.closedAt]),
    [
      ['error', 'incident opened', 'silent:s2-worker-3', null],
      ['info', 'incident closed', 'silent:s2-worker-3', '1970-01-01T00:00:01.000Z'],
    ],
  )
  assert.doesNotMatch(JSON.stringify(log.records), new RegExp(TOKEN))
})

test('exec: the alert comes as JSON on standard input', async () => {
  await using at = await folder()
  const file = join(at.path, 'alert.json')
  await execChannel({ argv: ['/bin/sh', '-c', 'cat > "$1"', 'sh', file], env }, systemClock).tell(alert, forever)
  const told = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  assert.deepEqual(
    [told.event, told.incident, told.kind, told.agent, told.openedAt],
    ['opened', 7, 'silent', 's2-worker-3', '1970-01-01T00:00:00.000Z'],
  )
  assert.match(String(told.text), /^S2 incident: s2-worker-3 was not heard for 60s, token=\[redacted session-token\]$/)
})

test('the end of an incident says what is over and why, or else that it is', async () => {
  const log = recordingLog()
  const over: Alert = { ...alert, event: 'closed', incident: { ...alert.incident, closedAt: 1000 } }
  const outcome = `s2-worker-3 was heard again after 12 min, token=${TOKEN}`
  await logChannel(log).tell({ ...over, incident: { ...over.incident, outcome } }, forever)
  await logChannel(log).tell({ ...over, incident: { ...over.incident, summary: 'nobody answers' } }, forever)
  assert.deepEqual(
    log.records.map(({ fields }) => fields.text),
    [
      'S2 incident over: s2-worker-3 was heard again after 12 min, token=[redacted session-token]',
      'S2 incident over: nobody answers',
    ],
  )
})

test('all channels say the same, on one line of characters that can be seen, cut between them', async () => {
  await using at = await folder()
  const file = join(at.path, 'alert.json')
  let posted = ''
  await using server = await receiver((_, response, body) => {
    posted = body
    response.writeHead(204).end()
  })
  const log = recordingLog()
  const channels = [
    logChannel(log),
    execChannel({ argv: ['/bin/sh', '-c', 'cat > "$1"', 'sh', file], env }, systemClock),
    webhookChannel(server.url, systemClock),
  ]
  const summary = `w1\u0007 said \u001b[31mred\n\u202eno\ud83d${'\ud83d\ude80'.repeat(2_500)}`
  const noisy: Alert = {
    ...alert,
    incident: { ...alert.incident, summary, cause: 'silent:w\u200f1', agent: 'w\u00001' },
  }
  for (const channel of channels) await channel.tell(noisy, forever)
  const { event: _, ...told } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  assert.deepEqual(log.records[0]?.fields, told)
  assert.deepEqual(JSON.parse(posted), { event: 'opened', ...told })
  const text = String(told.text)
  assert.match(text, /^S2 incident: w1 said \[31mred no\ufffd(\u{1f680})+…$/u)
  assert.ok(text.isWellFormed() && text.length <= 1_500 && text.length > 1_490)
  assert.deepEqual([told.cause, told.agent], ['silent:w1', 'w 1'])
})

test('an incident that lasts says for how long', async () => {
  const log = recordingLog()
  const lasting = (retold: number): Alert => ({ ...alert, event: 'lasting', incident: { ...alert.incident, retold } })
  for (const retold of [1, 2]) await logChannel(log).tell(lasting(retold), forever)
  assert.deepEqual(
    log.records.map(({ level, event, fields }) => [level, event, String(fields.text).slice(0, 36)]),
    [
      ['error', 'incident lasts', 'S2 incident still open after 1 h: s2'],
      ['error', 'incident lasts', 'S2 incident still open after 8 h: s2'],
    ],
  )
})

test('exec: any other end than code 0 is a failure that says why, without secrets', async () => {
  const script = `echo "no route, password=${TOKEN}" >&2; exit 3`
  await assert.rejects(
    execChannel({ argv: ['/bin/sh', '-c', script], env }, systemClock).tell(alert, forever),
    (error) => {
      assert.ok(error instanceof Error)
      assert.match(error.message, /exit code 3/)
      assert.match(String(error.cause), /no route/)
      assert.doesNotMatch(String(error.cause), new RegExp(TOKEN))
      return true
    },
  )
  await assert.rejects(
    execChannel({ argv: ['/nonexistent/program'], env }, systemClock).tell(alert, forever),
    /^Error: the alert command cannot be started: the program \/nonexistent\/program is not installed .*; see S2_ALERT_EXEC$/,
  )
})

test('exec: one that hangs is ended with its children when its time is over', async () => {
  await using at = await folder()
  const file = join(at.path, 'child')
  const script = 'sleep 600 & echo $! > "$1.new"; mv "$1.new" "$1"; wait'
  const { clock, expire } = expiringClock()
  const told = execChannel({ argv: ['/bin/sh', '-c', script, 'sh', file], env }, clock).tell(alert, forever)
  await until('the command runs', () => existsSync(file))
  const child = Number(await readFile(file, 'utf8'))
  expire()
  await assert.rejects(told, /it took too long/)
  await until('its child has ended', () => isOver(child))
})

test('exec: one that hangs ends when the program does', async () => {
  const stop = new AbortController()
  const told = execChannel({ argv: ['/bin/sh', '-c', 'sleep 600'], env }, systemClock).tell(alert, stop.signal)
  stop.abort()
  await assert.rejects(told, /it was stopped/)
})

test('webhook: JSON by POST, and 2xx says that it was taken', async () => {
  const got: unknown[] = []
  await using server = await receiver((request, response, body) => {
    got.push([request.method, request.headers['content-type'], JSON.parse(body).cause])
    response.writeHead(204).end()
  })
  await webhookChannel(server.url, systemClock).tell(alert, forever)
  assert.deepEqual(got, [['POST', 'application/json', 'silent:s2-worker-3']])
})

test('webhook: what an agent or a host is called makes no chat service call anybody', async () => {
  let said = ''
  await using server = await receiver((_, response, body) => {
    said = body
    response.writeHead(204).end()
  })
  const summary = 'w1 on <!channel> & <@U1>\n@here is gone'
  await webhookChannel(server.url, systemClock).tell({ ...alert, incident: { ...alert.incident, summary } }, forever)
  const { text } = JSON.parse(said) as { text: string }
  assert.equal(text, 'S2 incident: w1 on &lt;!channel&gt; &amp; &lt;(at)U1&gt; (at)here is gone')
})

test('webhook: another status is a failure, redirections are not followed, and no error shows the address', async () => {
  for (const status of [500, 404, 302, 307]) {
    let calls = 0
    await using server = await receiver((_, response) => {
      calls += 1
      response.writeHead(status, { location: 'file:///etc/passwd' }).end('canary')
    })
    await assert.rejects(webhookChannel(server.url, systemClock).tell(alert, forever), (error) => {
      assert.match(String(error), new RegExp(`status ${status}`))
      assert.doesNotMatch(String((error as Error).stack), /canary/)
      return true
    })
    assert.equal(calls, 1)
  }
})

test('webhook: nobody there, and one that breaks off, are failures', async () => {
  const gone = await receiver(() => undefined)
  await gone[Symbol.asyncDispose]()
  await assert.rejects(webhookChannel(gone.url, systemClock).tell(alert, forever), /not reached: ECONNREFUSED/)
  await using rude = await receiver((request) => request.socket.destroy())
  await assert.rejects(webhookChannel(rude.url, systemClock).tell(alert, forever), /not reached: ECONNRESET/)
})

test('webhook: one that never answers is given up when its time is over, or the program ends', async () => {
  const asked = Promise.withResolvers<void>()
  await using server = await receiver(() => asked.resolve())
  const { clock, expire } = expiringClock()
  const told = webhookChannel(server.url, clock).tell(alert, forever)
  await asked.promise
  expire()
  await assert.rejects(told, /no answer within/)
  const stop = new AbortController()
  const other = webhookChannel(server.url, systemClock).tell(alert, stop.signal)
  stop.abort()
  await assert.rejects(other, /the program ends/)
})
