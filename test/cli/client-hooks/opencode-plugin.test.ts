import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import type { HookReport } from '#agents/hook-report.ts'
import { openWaited, rewakeWaiter, waiterPipe } from '#agents/wake/rewake-waiter.ts'
import { systemClock } from '#runtime/clock.ts'
import { Inbox } from '#spool/inbox.ts'
import { pluginText } from '../../../services/cli/client-hooks/opencode-plugin.ts'
import { sampleSession } from '../../core/agents/sample-session.ts'
import { letter } from '../../core/spool/sample.ts'
import { until } from '../../until.ts'

const base = mkdtempSync(join(tmpdir(), 's2-opencode-'))
after(() => rmSync(base, { recursive: true, force: true }))
const ID = 'ses_one'

interface Part {
  readonly type: string
  readonly text: string
}
interface Prompted {
  readonly path: { readonly id: string }
  readonly body: { readonly agent?: string; readonly parts: readonly Part[] }
}
interface Hooks {
  event(told: { event: { type: string; properties: object } }): Promise<void>
  'chat.message'(input: object, output: { message: object; parts: Part[] }): Promise<void>
  'tool.execute.after'(input: object, output: { output: string }): Promise<void>
}

/** The plugin as opencode loads it, with a server that notes the prompts that it is given. */
class Loaded implements AsyncDisposable {
  readonly state = mkdtempSync(join(base, 'state-'))
  readonly prompts: Prompted[] = []
  #hooks: Hooks | undefined

  async load(): Promise<this> {
    const file = join(this.state, 's2.mjs')
    writeFileSync(file, pluginText(this.state))
    const { S2 } = (await import(pathToFileURL(file).href)) as { S2: (place: object) => Promise<Hooks> }
    const session = { promptAsync: async (prompted: Prompted) => void this.prompts.push(prompted) }
    this.#hooks = await S2({ directory: '/tmp', client: { session } })
    return this
  }

  get hooks(): Hooks {
    assert.ok(this.#hooks)
    return this.#hooks
  }

  async mail(id: number): Promise<void> {
    const inbox = new Inbox(this.state)
    await inbox.recover()
    await inbox.put(letter(id))
  }

  async hears(type: string, properties: object = { sessionID: ID }): Promise<void> {
    await this.hooks.event({ event: { type, properties } })
  }

  /** A prompt, with what the model reads of it. */
  async prompt(text: string, agent = 'plan'): Promise<string> {
    const parts = [{ type: 'text', text }]
    await this.hooks['chat.message']({ sessionID: ID, agent }, { message: { id: 'msg_1' }, parts })
    return parts.map((each) => each.text).join('\n')
  }

  /** Ends what waits for a wake. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.hears('session.deleted', { info: { id: ID } })
  }

  reports(): HookReport[] {
    const folder = join(this.state, 'agents/events/new')
    const read = (name: string): HookReport => JSON.parse(readFileSync(join(folder, name), 'utf8'))
    return readdirSync(folder)
      .map(read)
      .toSorted((x, y) => x.at - y.at)
  }
}

test('the model is told of mail with a prompt and after a tool, and once at the end of a turn', async () => {
  await using plugin = await new Loaded().load()
  await plugin.mail(1)
  assert.match(await plugin.prompt('go'), /^go\n1 message waits/)
  await plugin.mail(2)
  const said = { output: 'of the tool' }
  await plugin.hooks['tool.execute.after']({ sessionID: ID, tool: 'bash' }, said)
  assert.match(said.output, /^of the tool\n\n1 new message waits/)

  await plugin.hears('session.idle')
  assert.equal(plugin.prompts.length, 1)
  const { path, body } = plugin.prompts[0] as Prompted
  assert.deepEqual([path.id, body.agent], [ID, 'plan'])
  const [{ text = '' } = {}] = body.parts
  assert.match(text, /^2 unread messages wait/)
  assert.equal(await plugin.prompt(text), text)
  await plugin.mail(3)
  await plugin.hears('session.idle')
  assert.equal(plugin.prompts.length, 1)
})

test('a turn that a person ends, or a failure, is not made to go on', async () => {
  await using plugin = await new Loaded().load()
  await plugin.prompt('go')
  await plugin.mail(1)
  const limit = { name: 'APIError', data: { statusCode: 429, message: 'slow down' } }
  for (const error of [{ name: 'MessageAbortedError' }, limit]) {
    await plugin.hears('session.error', { sessionID: ID, error })
    await plugin.hears('session.idle')
  }
  assert.deepEqual(plugin.prompts, [])
  assert.deepEqual(
    plugin.reports().map(({ event }) => [event.kind, event.failure]),
    [
      ['prompt', null],
      ['interrupted', null],
      ['failure', 'rate_limit'],
    ],
  )
})

test('dialogs are told with what they ask, those of a subagent as its session’s', async () => {
  await using plugin = await new Loaded().load()
  await plugin.hears('session.created', { info: { id: ID } })
  await plugin.hears('session.created', { info: { id: 'ses_sub', parentID: ID } })
  const asked = { sessionID: 'ses_sub', permission: 'bash', patterns: ['npm publish'], metadata: {} }
  await plugin.hears('permission.asked', asked)
  await plugin.hears('question.asked', { sessionID: ID, questions: [{ question: 'which branch?' }] })
  await plugin.hears('question.rejected')
  assert.deepEqual(
    plugin.reports().map(({ event }) => [event.kind, event.id, event.subagent, event.what]),
    [
      ['start', ID, null, null],
      ['asking', ID, 'ses_sub', 'permission prompt: bash: npm publish'],
      ['asking', ID, null, 'question: which branch?'],
      ['answered', ID, null, null],
    ],
  )
})

test('an idle session is woken by what its waiter says', async () => {
  await using plugin = await new Loaded().load()
  await plugin.prompt('go')
  await plugin.hears('session.idle')
  const session = sampleSession({ client: 'opencode', id: ID, process: null, since: 0 })
  const { signal } = new AbortController()
  const rung = rewakeWaiter(plugin.state, systemClock)
  await until('it waits', async () => (await rung.whyNot(session, signal)) === null)
  const wake = 'S2 wake 0123456789ab: 1 unread message.'
  await rung.wake(session, wake, signal)
  await until('the session is prompted', () => plugin.prompts.length > 0)
  assert.deepEqual(plugin.prompts[0]?.body.parts, [{ type: 'text', text: wake }])
  assert.throws(() => openWaited(waiterPipe(plugin.state, session)))
})
