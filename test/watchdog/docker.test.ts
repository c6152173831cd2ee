/** What the watchdog makes of an engine that removes containers as they end: a stand-in answers what an engine may answer. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { openDocker } from '../../services/watchdog/process-sources/docker.ts'
import type { ProcessSource } from '../../services/watchdog/process-sources/read-source.ts'
import { until } from '../until.ts'

const ID = 'c0ffee'
const RUNNING = { State: 'running', Status: 'Up 2 seconds' }
const NEVER = new AbortController().signal

/** Answers lists, inspections and events as it is told to. */
class Engine implements AsyncDisposable {
  readonly #server: Server
  #events: ServerResponse | null = null
  containers: { State: string; Status: string }[] = [RUNNING]
  inspected: { ExitCode: number; OOMKilled: boolean } | null = null

  constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? ''
      if (path.startsWith('/events')) {
        this.#events = response
        response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
      } else if (path.startsWith('/containers/json')) {
        const of = { Id: ID, Names: ['/agent-1'], Labels: { 's2.agent': 'w1' } }
        response.end(JSON.stringify(this.containers.map((each) => ({ ...of, ...each }))))
      } else if (this.inspected === null) {
        response.writeHead(404).end(JSON.stringify({ message: 'no such container' }))
      } else {
        response.end(JSON.stringify({ State: this.inspected }))
      }
    })
  }

  async listen(path: string): Promise<void> {
    this.#server.listen(path)
    await once(this.#server, 'listening')
  }

  /** Events of the container, in one piece: `start`, or `die` with its exit code. */
  tell(...events: readonly ('start' | `die ${number}`)[]): void {
    const lines = events.map((event) => {
      const [Action, exitCode] = event.split(' ')
      return `${JSON.stringify({ Action, Actor: { ID, Attributes: { exitCode } } })}\n`
    })
    this.#events?.write(lines.join(''))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

async function open(): Promise<{ engine: Engine; docker: ProcessSource; heard: () => number } & AsyncDisposable> {
  const folder = mkdtempSync(join(tmpdir(), 's2-docker-'))
  const engine = new Engine()
  await engine.listen(join(folder, 'docker.sock'))
  const docker = await openDocker(join(folder, 'docker.sock'), systemClock)
  let heard = 0
  docker.onHint?.(() => {
    heard += 1
  })
  assert.equal((await docker.read(NEVER))[0]?.state, 'living')
  return {
    engine,
    docker,
    heard: () => heard,
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true })
    },
  }
}

const whys = (processes: Awaited<ReturnType<ProcessSource['read']>>): string[] =>
  processes.map(({ state, why }) => `${state}: ${why}`)

test('a container that is seen while it is removed has its exit code from the engine', async () => {
  await using stage = await open()
  const { engine, docker } = stage
  engine.containers = [{ State: 'removing', Status: 'Removal In Progress' }]
  engine.inspected = { ExitCode: 137, OOMKilled: true }
  assert.deepEqual(whys(await docker.read(NEVER)), ['ended: exit code 137, out of memory'])
})

test('a container that is removed between the list and its inspection does not fail the others', async () => {
  await using stage = await open()
  const { engine, docker, heard } = stage
  engine.tell('die 3')
  await until('the event has come', () => heard() > 0)
  engine.containers = [{ State: 'removing', Status: 'Removal In Progress' }, { ...RUNNING }]
  assert.deepEqual(whys(await docker.read(NEVER)), ['ended: exit code 3', 'living: '])
})

test('a container that the list has no more before the event of its end comes is gone when it comes', async () => {
  await using stage = await open()
  const { engine, docker, heard } = stage
  engine.containers = []
  assert.deepEqual(whys(await docker.read(NEVER)), [])
  engine.tell('die 137')
  await until('the event has come', () => heard() > 0)
  assert.deepEqual(whys(await docker.read(NEVER)), ['ended: exit code 137'])
  assert.deepEqual(whys(await docker.read(NEVER)), [], 'once')
})

test('the exit code of an earlier life is not that of the last one', async () => {
  await using stage = await open()
  const { engine, docker, heard } = stage
  engine.tell('die 3', 'start')
  await until('the events have come', () => heard() > 0)
  engine.containers = []
  assert.deepEqual(whys(await docker.read(NEVER)), [])
  const before = heard()
  engine.tell('die 137')
  await until('the event has come', () => heard() > before)
  assert.deepEqual(whys(await docker.read(NEVER)), ['ended: exit code 137'])
})
