import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, type Server, type ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { WebSocketServer } from 'ws'
import type { ClientSession } from '#agents/client-session.ts'
import { codexQueue, codexTurn } from '#agents/wake/codex-turn.ts'
import { desktop, webhook } from '#agents/wake/for-people.ts'
import { inboxSocket } from '#agents/wake/inbox-socket.ts'
import { resumedSession } from '#agents/wake/resumed-session.ts'
import { rewakeWaiter, waiterPipe } from '#agents/wake/rewake-waiter.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import { systemClock } from '#runtime/clock.ts'
import { processStart } from '#runtime/process-stat.ts'
import { sampleSession } from './sample-session.ts'
import { standInClient } from './stand-in-client.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-wakes-'))
after(() => rmSync(folder, { recursive: true }))
const signal = AbortSignal.timeout(60_000)
const TEXT = 'S2 wake 0123456789ab: 1 unread message.'

function of({ pid = 0 }: ChildProcess): ClientSession['process'] {
  return { pid, startTicks: processStart(pid) ?? '' }
}

/** A socket that keeps what is written to it, line by line. */
async function listener(name: string | number | undefined, t: TestContext) {
  const path = join(folder, `${name}.sock`)
  const lines: string[] = []
  const server = createServer((socket) => {
    let text = ''
    socket.on('data', (chunk) => (text += String(chunk)))
    socket.on('end', () => {
      lines.push(...text.split('\n').slice(0, -1))
      socket.end()
    })
  })
  server.listen(path)
  await once(server, 'listening')
  t.after(() => server.close())
  return { path, lines }
}

test('the inbox socket gets one line of JSON with the text', async (t) => {
  const process = standInClient(t)
  const { path, lines } = await listener(process?.pid, t)
  const session = sampleSession({ inboxSocket: path, process })
  assert.equal(await inboxSocket().whyNot(session, signal), null)
  assert.equal(await inboxSocket().wake(session, TEXT, signal), 'sent')
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [{ type: 'user', message: { role: 'user', content: TEXT } }],
  )
})

test('the inbox socket of an ended process, a file, another client or nobody is refused', async (t) => {
  const living = standInClient(t)
  const { path } = await listener(living?.pid, t)
  writeFileSync(join(folder, 'plain'), '')
  const why = async (fields: Partial<ClientSession>) =>
    (await inboxSocket().whyNot(sampleSession({ inboxSocket: path, process: living, ...fields }), signal)) ?? ''
  assert.match(await why({ client: 'codex' }), /only Claude Code/)
  assert.match(await why({ inboxSocket: null }), /told of no socket/)
  assert.match(await why({ process: { pid: living?.pid ?? 0, startTicks: '1' } }), /has ended/)
  assert.match(await why({ inboxSocket: join(folder, 'plain') }), /is no socket/)
  assert.match(await why({ inboxSocket: join(folder, 'nothing') }), /is not there/)
  assert.match((await inboxSocket().whyNot(null, signal)) ?? '', /no session of a client/)
})

test('a socket that is not the named session’s own, and a process that is no client, are not spoken to', async (t) => {
  const { path, lines } = await listener('agent', t)
  const why = async (process: ClientSession['process'], socket: string) =>
    (await inboxSocket().whyNot(sampleSession({ inboxSocket: socket, process }), signal)) ?? ''
  assert.match(await why(standInClient(t), path), /is not the session's own/)
  const other = standInClient(t, { name: 'sleep' })
  const named = await listener(other?.pid, t)
  assert.match(await why(other, named.path), /is not the session's own/)
  const codex = sampleSession({ client: 'codex', process: other })
  assert.match((await codexQueue({ clock: systemClock }).whyNot(codex, signal)) ?? '', /has ended, or is no client/)
  assert.deepEqual([...lines, ...named.lines], [])
})

test('in bypass mode nothing is sent unless the user said that messages are taken', async (t) => {
  const home = join(folder, 'home')
  mkdirSync(join(home, '.claude'), { recursive: true })
  const process = standInClient(t, { env: { HOME: home } })
  const { path, lines } = await listener(process?.pid, t)
  const session = sampleSession({
    inboxSocket: path,
    permissionMode: 'bypassPermissions',
    process,
  })
  assert.match((await inboxSocket().whyNot(session, signal)) ?? '', /crossSessionInbound/)
  writeFileSync(join(home, '.claude', 'settings.json'), '{"crossSessionInbound":"ask"}')
  assert.match((await inboxSocket().whyNot(session, signal)) ?? '', /crossSessionInbound/)
  writeFileSync(join(home, '.claude', 'settings.json'), '{"crossSessionInbound":"accept"}')
  assert.equal(await inboxSocket().whyNot(session, signal), null)
  assert.deepEqual(lines, [])
})

test('a session that has named no mode yet has the one that it was started with', async (t) => {
  const home = join(folder, 'mode-home')
  mkdirSync(join(home, '.claude'), { recursive: true })
  const script = join(folder, 'claude')
  writeFileSync(script, 'read _')
  const why = async (...args: string[]): Promise<string | null> => {
    const child = spawn('sh', [script, ...args], { env: { HOME: home } })
    t.after(() => child.kill('SIGKILL'))
    const { path } = await listener(child.pid, t)
    return await inboxSocket().whyNot(
      sampleSession({ inboxSocket: path, permissionMode: null, process: of(child) }),
      signal,
    )
  }
  assert.equal(await why(), null)
  assert.match((await why('--dangerously-skip-permissions')) ?? '', /crossSessionInbound/)
  assert.match((await why('--permission-mode', 'bypassPermissions')) ?? '', /crossSessionInbound/)
  assert.equal(await why('--permission-mode', 'bypassPermissions', '--settings={"crossSessionInbound":"accept"}'), null)
  writeFileSync(join(home, '.claude', 'settings.json'), '{"permissions":{"defaultMode":"bypassPermissions"}}')
  assert.match((await why()) ?? '', /crossSessionInbound/)
  assert.equal(await why('--permission-mode', 'default'), null)
})

test('a socket that takes nothing ends the attempt', async (t) => {
  const path = join(folder, 'silent')
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pause())
  server.listen(path)
  await once(server, 'listening')
  t.after(() => server.close())
  const session = sampleSession({ inboxSocket: path, process: standInClient(t) })
  await assert.rejects(inboxSocket().wake(session, TEXT, AbortSignal.timeout(200)), /took too long/)
})

test('a waiting hook gets the text; where none waits, nothing is written', async (t) => {
  const session = sampleSession()
  const state = join(folder, 'state')
  const pipe = waiterPipe(state, session)
  const rung = rewakeWaiter(state, systemClock)
  assert.match((await rung.whyNot(session, signal)) ?? '', /no hook of the session waits/)
  const justNow = { ...session, since: systemClock.wall() - 1_000 }
  await assert.rejects(rung.whyNot(justNow, signal), { name: 'PassingRefusal' })
  mkdirSync(dirname(pipe), { recursive: true })
  execFileSync('mkfifo', [pipe])
  assert.match((await rung.whyNot(session, signal)) ?? '', /no hook of the session waits/)
  await assert.rejects(rung.wake(session, TEXT, signal))
  const waiter = spawn('sh', ['-c', 'exec head -n 1 <> "$0"', pipe])
  t.after(() => waiter.kill('SIGKILL'))
  while ((await rung.whyNot(session, signal)) !== null) await systemClock.sleep(20)
  assert.equal(await rung.wake(session, TEXT, signal), 'sent')
  const [line] = await once(waiter.stdout, 'data')
  assert.equal(String(line), `${TEXT}\n`)
  assert.match((await rung.whyNot(sampleSession({ client: 'codex' }), signal)) ?? '', /only Claude Code/)
})

test('a file or a link in the place of a pipe is written to by nobody', async () => {
  const session = sampleSession({ id: 'planted' })
  const state = join(folder, 'state')
  const pipe = waiterPipe(state, session)
  mkdirSync(dirname(pipe), { recursive: true })
  writeFileSync(pipe, 'precious')
  await assert.rejects(rewakeWaiter(state, systemClock).wake(session, TEXT, signal), /no pipe/)
  assert.ok((await rewakeWaiter(state, systemClock).whyNot(session, signal)) !== null)
  const elsewhere = waiterPipe(state, { client: 'claude', id: '../../x' })
  assert.equal(dirname(elsewhere), join(state, 'agents', 'waiters'))
  assert.notEqual(elsewhere, waiterPipe(state, { client: 'claude', id: '______x' }))
})

interface Call {
  readonly id: number
  readonly method: string
  readonly params: Record<string, unknown>
}

/** A daemon of Codex that holds some threads and keeps what it is asked. Before each answer it says some other things. */
async function daemon(t: TestContext, home: string, threads: readonly string[], said: readonly string[] = []) {
  const asked: Call[] = []
  const path = join(home, '.codex', 'app-server-control', 'app-server-control.sock')
  mkdirSync(dirname(path), { recursive: true })
  const server: Server = createHttpServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => {
    socket.send(JSON.stringify({ method: 'remoteControl/status/changed', params: {} }))
    socket.on('message', (data) => {
      const call = JSON.parse(String(data)) as Call
      if (call.id === undefined) return
      asked.push(call)
      for (const each of said) socket.send(each)
      const results: Record<string, unknown> = {
        'thread/loaded/list': { data: threads },
        'turn/start': { turn: { id: 'turn-1', status: 'inProgress' } },
      }
      socket.send(JSON.stringify({ id: call.id, error: null, result: results[call.method] ?? {} }))
    })
  })
  server.listen(path)
  await once(server, 'listening')
  t.after(() => {
    for (const each of sockets.clients) each.terminate()
    server.close()
  })
  return asked
}

test('a turn of Codex is begun by the daemon that holds the thread, and that proves it', async (t) => {
  const home = join(folder, 'c')
  const process = standInClient(t, { env: { HOME: home }, name: 'codex' })
  const session = sampleSession({ client: 'codex', id: 'thread-1', process })
  assert.match((await codexTurn().whyNot(session, signal)) ?? '', /no daemon of Codex runs/)
  assert.match((await codexQueue({ clock: systemClock }).whyNot(session, signal)) ?? '', /no daemon of Codex runs/)
  const asked = await daemon(t, home, ['thread-1'])
  assert.equal(await codexTurn().whyNot(session, signal), null)
  assert.match((await codexTurn().whyNot({ ...session, id: 'thread-2' }, signal)) ?? '', /does not hold its thread/)
  assert.equal(await codexTurn().wake(session, TEXT, signal), 'read')
  const turn = asked.find(({ method }) => method === 'turn/start')
  assert.deepEqual(turn?.params, { threadId: 'thread-1', input: [{ type: 'text', text: TEXT }] })
})

test('a daemon that says nonsense beside its answers is heard', async (t) => {
  const home = join(folder, 'n')
  const process = standInClient(t, { env: { HOME: home }, name: 'codex' })
  const session = sampleSession({ client: 'codex', id: 'thread-1', process })
  await daemon(t, home, ['thread-1'], ['', 'null', '[]', '1', '{"id":{"toString":1}}', '{"id":99,"error":null}'])
  assert.equal(await codexTurn().whyNot(session, signal), null)
  assert.equal(await codexTurn().wake(session, TEXT, signal), 'read')
})

test('a daemon that refuses without words is told as one', async (t) => {
  const home = join(folder, 'r')
  const process = standInClient(t, { env: { HOME: home }, name: 'codex' })
  const session = sampleSession({ client: 'codex', id: 'thread-1', process })
  await daemon(t, home, [], ['{"id":1,"error":{"message":{"toString":1}}}', '{"id":1,"error":7}'])
  assert.match((await codexTurn().whyNot(session, signal)) ?? '', /does not answer: it refused/)
})

test('a webhook gets the text and the bearer of its file; a redirection or an error is no success', async (t) => {
  const got: { authorization: string | undefined; body: string }[] = []
  let status = 204
  const server = createHttpServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => (body += String(chunk)))
    request.on('end', () => {
      got.push({ authorization: request.headers.authorization, body })
      response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, 'made-up-token\n')
  const url = new URL(`http://127.0.0.1:${(server.address() as { port: number }).port}/secret-path`)
  const rung = webhook({ url, tokenFile })
  assert.equal(await rung.wake(null, TEXT, signal), 'sent')
  assert.deepEqual(got, [
    { authorization: 'Bearer made-up-token', body: JSON.stringify({ text: TEXT, client: null, session: null }) },
  ])
  status = 302
  await assert.rejects(rung.wake(null, TEXT, signal), /status 302/)
  server.closeAllConnections()
  server.close()
  await assert.rejects(rung.wake(null, TEXT, signal), (error: Error) => !error.message.includes('secret-path'))
  assert.match((await webhook(null).whyNot(null, signal)) ?? '', /no address is set/)
})

/** A webhook behind a server on loopback that answers as the test says. */
async function webhookTo(t: TestContext, answer: (response: ServerResponse) => void) {
  const asked: string[] = []
  const server = createHttpServer((request, response) => {
    asked.push(request.url ?? '')
    request.resume()
    answer(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return { asked, port, rung: webhook({ url: new URL(`http://127.0.0.1:${port}/hook`), tokenFile: null }) }
}

test('a webhook that redirects leads nowhere else', async (t) => {
  const elsewhere = await webhookTo(t, (response) => response.writeHead(204).end())
  for (const status of [301, 307, 308]) {
    const { rung, asked } = await webhookTo(t, (response) =>
      response.writeHead(status, { location: `http://127.0.0.1:${elsewhere.port}/` }).end(),
    )
    await assert.rejects(rung.wake(null, TEXT, signal), new RegExp(`status ${status}`))
    assert.deepEqual(asked, ['/hook'])
  }
  assert.deepEqual(elsewhere.asked, [])
})

test('a webhook that never answers, or never ends its answer, is given up', async (t) => {
  const silent = await webhookTo(t, () => undefined)
  const drip = await webhookTo(t, (response) => {
    response.writeHead(200)
    const dripping = setInterval(() => response.write('x'), 50)
    response.on('close', () => clearInterval(dripping))
  })
  for (const { rung } of [silent, drip]) {
    assert.ok(rung.timeoutMs <= 10_000)
    const began = performance.now()
    await assert.rejects(
      boundedWait((over) => rung.wake(null, TEXT, over), 300, systemClock, signal),
      /no answer within/,
    )
    assert.ok(performance.now() - began < 5_000)
  }
})

test('of an answer without end a webhook reads little', async (t) => {
  let written = 0
  const { rung } = await webhookTo(t, (response) => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(16_384))) written += 16_384
    }
    response.writeHead(200).on('drain', more)
    more()
  })
  await assert.rejects(rung.wake(null, TEXT, signal), /the webhook was not reached/)
  assert.ok(written < 16 * 1024 * 1024, String(written))
})

test('a webhook whose token cannot be read is not called', async (t) => {
  const { port, asked } = await webhookTo(t, (response) => response.writeHead(204).end())
  const rung = webhook({ url: new URL(`http://127.0.0.1:${port}/`), tokenFile: join(folder, 'no-such-token') })
  await assert.rejects(rung.wake(null, TEXT, signal))
  assert.deepEqual(asked, [])
})

test('a desktop shows the text by notify-send, in which it is never an option', async () => {
  const bin = join(folder, 'desktop')
  mkdirSync(bin)
  const got = join(folder, 'notified')
  const notify = (script: string): void =>
    writeFileSync(join(bin, 'notify-send'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  notify(`printf '%s|' "$@" > ${got}`)
  const env = { PATH: `${bin}:${process.env.PATH}` }
  assert.match((await desktop(systemClock, env).whyNot(null, signal)) ?? '', /no desktop/)
  const rung = desktop(systemClock, { ...env, DISPLAY: ':99' })
  assert.equal(await rung.whyNot(null, signal), null)
  assert.equal(await rung.wake(null, '--help', signal), 'sent')
  assert.equal(readFileSync(got, 'utf8'), '--app-name=S2|--|S2|--help|')
  notify('exit 3')
  await assert.rejects(rung.wake(null, TEXT, signal), /notify-send: .*3/)
  rmSync(join(bin, 'notify-send'))
  await assert.rejects(desktop(systemClock, { PATH: bin, DISPLAY: ':99' }).wake(null, TEXT, signal))
  notify('sleep 30')
  await assert.rejects(rung.wake(null, TEXT, AbortSignal.timeout(300)))
})

/** A folder of another user. */
function foreignFolder(): string {
  if (process.getuid?.() !== 0) return '/'
  const path = mkdtempSync(join(folder, 'foreign-'))
  chownSync(path, 65_534, 65_534)
  return path
}

test('only a session whose process has ended is resumed, with the text by standard input', async (t) => {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const got = join(folder, 'resumed')
  writeFileSync(join(bin, 'claude'), `#!/bin/sh\nprintf '%s|' "$@" > ${got}; cat >> ${got}\n`, { mode: 0o755 })
  const rung = resumedSession({ clock: systemClock, env: { PATH: `${bin}:${process.env.PATH}` } })
  const living = standInClient(t)
  assert.match((await rung.whyNot(sampleSession({ process: living }), signal)) ?? '', /has not ended/)
  assert.match((await rung.whyNot(sampleSession({ process: null }), signal)) ?? '', /has not ended/)
  const ended = sampleSession({ process: { pid: living?.pid ?? 0, startTicks: '1' }, folder })
  assert.equal(await rung.whyNot(ended, signal), null)
  for (const id of ['--settings=x', '-abcdef12']) {
    assert.match((await rung.whyNot({ ...ended, id }, signal)) ?? '', /not known/)
  }
  for (const place of [foreignFolder(), '/proc/self/cwd', join(folder, 'nowhere')]) {
    assert.match((await rung.whyNot({ ...ended, folder: place }, signal)) ?? '', /no folder of this user/, place)
  }
  assert.equal(await rung.wake(ended, '--settings=evil', signal), 'read')
  assert.ok(existsSync(got))
  assert.equal(execFileSync('cat', [got], { encoding: 'utf8' }), `-p|--resume=${ended.id}|--settings=evil`)
})
