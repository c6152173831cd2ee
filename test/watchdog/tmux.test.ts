/** Sessions of a real tmux server, one for each test. */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { suite, test } from 'node:test'
import { type AgentProcess, AgentProcessTable } from '#fleet/agent-processes.ts'
import { systemClock } from '#runtime/clock.ts'
import { TmuxSource } from '../../services/watchdog/process-sources/tmux.ts'
import { until } from '../until.ts'

const isThere = spawnSync('tmux', ['-V']).status === 0
const skip = isThere || process.env.CI === 'true' ? false : 'tmux is not installed here'

class Server implements AsyncDisposable {
  readonly folder: string
  readonly socket: string
  readonly source: TmuxSource
  readonly agentProcesses = new AgentProcessTable()
  readonly #pids = new Set<number>()

  constructor(folder: string) {
    this.folder = folder
    this.socket = join(folder, 'socket')
    this.source = new TmuxSource(this.socket, { PATH: process.env.PATH }, systemClock)
  }

  static async open(): Promise<Server> {
    return new Server(await mkdtemp(join(tmpdir(), 's2-tmux-')))
  }

  run(...args: string[]): string {
    const env = { PATH: process.env.PATH, LC_ALL: 'C.UTF-8' }
    return execFileSync('tmux', ['-S', this.socket, '-f', '/dev/null', ...args], { encoding: 'utf8', env }).trim()
  }

  /** Answers the process id of the session's first pane. */
  session(name: string, agent: string | null, restart: string | null = null, command = 'sleep 1000'): number {
    this.run('new-session', '-d', '-s', name, '-c', this.folder, command)
    if (agent !== null) this.run('set-option', '-t', name, '@s2_agent', agent)
    if (restart !== null) this.run('set-option', '-t', name, '@s2_restart', restart)
    return this.#panePid(name)
  }

  #panePid(name: string): number {
    const pid = Number(this.run('list-panes', '-t', name, '-F', '#{pane_pid}').split('\n')[0])
    this.#pids.add(pid)
    return pid
  }

  get pid(): number {
    return Number(this.run('display-message', '-p', '#{pid}'))
  }

  async read(): Promise<readonly AgentProcess[]> {
    const bodies = await this.source.read(new AbortController().signal)
    this.agentProcesses.take('tmux', bodies, 0)
    return bodies
  }

  /** Reads until an agent is found to be so. */
  async until(agent: string, state: string | undefined, why?: string): Promise<void> {
    await until(`${agent} is ${state} ${why ?? ''}`, async () => {
      await this.read()
      const known = this.agentProcesses.of(agent)
      return known?.state === state && (why === undefined || known?.agentProcess.why === why)
    })
  }

  async start(agent: string): Promise<void> {
    const body = this.agentProcesses.of(agent)?.agentProcess
    assert.ok(body?.mayStart, 'it may be started')
    await this.source.start(body.id, new AbortController().signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    spawnSync('tmux', ['-S', this.socket, 'kill-server'])
    for (const pid of this.#pids) end(pid)
    await rm(this.folder, { recursive: true, force: true })
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended
  }
}

suite('tmux', { skip }, () => {
  test('sessions that bear an agent are its bodies; others are nobody’s', async () => {
    await using server = await Server.open()
    assert.deepEqual(await server.read(), [], 'no server says nothing')
    server.session('one', 's2-worker-3')
    server.session('mine', null)
    assert.deepEqual(
      (await server.read()).map(({ agent, name, state }) => [agent, name, state]),
      [['s2-worker-3', 'tmux session one', 'living']],
    )
    server.run('rename-session', '-t', 'one', 'two')
    await server.until('s2-worker-3', 'living')
    server.run('set-option', '-u', '-t', 'two', '@s2_agent')
    await server.until('s2-worker-3', undefined)
  })

  test('a session that ends is a death, while its server answers', async () => {
    await using server = await Server.open()
    server.session('other', null)
    const pid = server.session('one', 'w1')
    await server.until('w1', 'living')
    end(pid)
    await server.until('w1', 'ended')
    assert.equal(server.agentProcesses.of('w1')?.agentProcess.mayStart, false)
  })

  test('the server ends with its last session: the death is proved by the processes', async () => {
    await using server = await Server.open()
    const pid = server.session('one', 'w1')
    await server.until('w1', 'living')
    end(pid)
    await server.until('w1', 'ended')
    await server.read()
    assert.equal(server.agentProcesses.of('w1')?.state, 'ended')
    server.session('again', 'w1')
    await server.until('w1', 'living')
    assert.equal((await server.read()).length, 1)
  })

  test('a server that was killed, or whose socket is lost, proves nothing of what lives on', async () => {
    await using server = await Server.open()
    server.session('one', 'w1', null, 'trap "" HUP; exec sleep 1000')
    await server.until('w1', 'living')
    const { pid } = server
    await unlink(server.socket)
    assert.deepEqual(
      (await server.read()).map(({ state }) => state),
      ['unknown'],
    )
    assert.equal(server.agentProcesses.of('w1'), null)
    process.kill(pid, 'SIGUSR1') // it makes its socket anew
    await server.until('w1', 'living')
    process.kill(pid, 'SIGKILL')
    await server.until('w1', undefined)
    server.session('other', 'w2') // another server
    await server.until('w2', 'living')
    assert.equal(server.agentProcesses.of('w1'), null)
  })

  test('a frozen server does not answer, and that is an error in bounded time', async () => {
    await using server = await Server.open()
    server.session('one', 'w1')
    await server.read()
    const { pid } = server
    process.kill(pid, 'SIGSTOP')
    try {
      await assert.rejects(server.read(), /tmux list-panes failed: it took too long/)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await server.until('w1', 'living')
  })

  test('dead panes that remain are a death with an exit code, and run again where that is allowed', async () => {
    await using server = await Server.open()
    server.session('other', null)
    server.run('set-option', '-g', 'remain-on-exit', 'on')
    const wait = 'until test -e over; do sleep 0.02; done'
    server.session('one', 'w1', 'on', `test -e over && exec sleep 1000; ${wait}; exit 7`)
    server.session('two', 'w2', null, `${wait}; exit 8`)
    await server.until('w1', 'living')
    await server.until('w2', 'living')
    await writeFile(join(server.folder, 'over'), '')
    await server.until('w1', 'ended', 'exit code 7')
    await server.until('w2', 'ended', 'exit code 8')
    assert.equal(server.agentProcesses.of('w2')?.agentProcess.mayStart, false)
    await server.start('w1')
    await server.until('w1', 'living')
  })

  test('a dead pane of the only session there is runs its command; a session that cannot be made is no start', async () => {
    await using server = await Server.open()
    server.session('one', 'w1', 'exec sleep 1000', 'until test -e over; do sleep 0.02; done; exit 7')
    server.run('set-option', '-g', 'remain-on-exit', 'on')
    await server.until('w1', 'living')
    await writeFile(join(server.folder, 'over'), '')
    await server.until('w1', 'ended', 'exit code 7')
    await server.start('w1')
    await server.until('w1', 'living')
    const id = server.agentProcesses.of('w1')?.agentProcess.id ?? ''
    server.session('other', null)
    server.run('kill-session', '-t', 'one')
    await server.until('w1', 'ended')
    server.session('one', null)
    await assert.rejects(server.source.start(id, new AbortController().signal), /duplicate session: one/)
  })

  test('a server that missed the death of its child does not know how it ended: the zombie does', async () => {
    await using server = await Server.open()
    const parent = spawn('sh', ['-c', `sh -c 'read line; exit 7' <&3 & echo $!; exec sleep 1000`], {
      stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
    })
    try {
      const [line] = (await once(parent.stdout as Readable, 'data')) as [Buffer]
      const said = (isDead: 0 | 1) =>
        writeFile(join(server.folder, 'panes'), `1<|>2<|>$0<|>%0<|>${+line}<|>${isDead}<|><|><|>w1<|>one<|>/<|>\n`)
      await writeFile(join(server.folder, 'tmux'), `#!/bin/sh\ncat ${server.folder}/panes\n`, { mode: 0o755 })
      const source = new TmuxSource('', { PATH: `${server.folder}:${process.env.PATH}` }, systemClock)
      const read = async () => (await source.read(new AbortController().signal))[0]?.why
      await said(0)
      assert.equal(await read(), '')
      await said(1)
      assert.equal(await read(), 'its command ended', 'it still runs')
      ;(parent.stdio[3] as Writable).end('now\n')
      await until('it is a zombie', async () => (await read()) === 'exit code 7')
      const later = new TmuxSource('', { PATH: `${server.folder}:${process.env.PATH}` }, systemClock)
      assert.equal((await later.read(new AbortController().signal))[0]?.why, 'its command ended', 'not known to be it')
    } finally {
      parent.kill('SIGKILL')
    }
  })

  test('a session that bears its command is made again, in its folder and for its agent', async () => {
    await using server = await Server.open()
    server.session('other', null)
    const pid = server.session('one', 'w1', 'touch here; echo "a | b" | cat; sleep 1000')
    await server.until('w1', 'living')
    end(pid)
    await server.until('w1', 'ended')
    await server.start('w1')
    await server.until('w1', 'living')
    assert.equal(
      server.run('show-options', '-v', '-t', 'one', '@s2_restart'),
      'touch here; echo "a | b" | cat; sleep 1000',
    )
    assert.equal(server.run('display-message', '-p', '-t', 'one', '#{session_path}'), server.folder)
    end(Number(server.run('list-panes', '-t', 'one', '-F', '#{pane_pid}')))
    await server.until('w1', 'ended')
  })
})
