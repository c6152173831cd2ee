/** Permission prompts that are answered from afar: their names, and the hook that waits for the answer. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { publishClientSession } from '#agents/client-sessions-folder.ts'
import { readHookEvent } from '#agents/hook-event.ts'
import type { ClientActivity } from '#fleet/client-activity.ts'
import { answerablePromptIn, namedPromptIn, promptLineAtTerminal } from '#fleet/prompt-name.ts'
import { Inbox } from '#spool/inbox.ts'
import { type GrantMode, liveGrant, openGrant, proofOf, redeemCode } from '../../services/cli/guard/grant.ts'
import {
  ANSWER_ACTION,
  answerMessage,
  type PermissionAnswer,
  readAnswer,
} from '../../services/cli/guard/permission-answer.ts'
import { isShownWhole, namePrompt, type PermissionPrompt } from '../../services/cli/guard/permission-prompt.ts'
import { ANSWER_WAIT_MS, awaitAnswer, type PromptOutcome } from '../../services/cli/guard/prompt-wait.ts'
import { sampleSession } from '../core/agents/sample-session.ts'
import { letter, tempState } from '../core/spool/sample.ts'
import { ManualClock } from '../manual-clock.ts'
import { until } from '../until.ts'

const NAME = '0123456789ab'
const OTHER = 'ba9876543210'
const SESSION = { client: 'claude', id: 'session-1' } as const

function named(tool: string, given: object): PermissionPrompt | null {
  const input = JSON.stringify({
    session_id: 's',
    hook_event_name: 'PermissionRequest',
    tool_name: tool,
    tool_input: given,
  })
  const event = readHookEvent('claude', null, input)
  assert.ok(event)
  return namePrompt(event, input, Buffer.from(NAME, 'hex'))
}

test('a prompt is shown with its name and all that the tool is given', () => {
  const plain = named('Bash', { command: 'touch one', description: 'makes one' })
  assert.deepEqual(plain, { name: NAME, what: `permission prompt ${NAME}: Bash: touch one`, isWhole: true })
  assert.equal(answerablePromptIn(plain?.what ?? null), NAME)
  assert.deepEqual(namedPromptIn(promptLineAtTerminal(plain?.what ?? '')), { name: NAME, isAnswerable: false })
  for (const [given, shown] of [
    [{ command: 'ls\nrm -rf x' }, '{"command":"ls\\nrm -rf x"}'],
    [{ command: 'ls', run_in_background: true }, '{"command":"ls","run_in_background":true}'],
    [{ command: 'echo \u202etxt' }, '{"command":"echo \\u{202e}txt"}'],
    [{ command: 'a  b' }, '{"command":"a  b"}'],
  ] as const)
    assert.equal(named('Bash', given)?.what, `permission prompt ${NAME}: Bash: ${shown}`)
})

test('a prompt that is not shown whole says so', () => {
  for (const command of [
    `echo ${'x'.repeat(300)}`,
    `echo${' '.repeat(2_000)}; rm -rf x`,
    'x TOKEN=ghp_0123456789abcdefghijklmnopqrstuvwxyz',
  ]) {
    const prompt = named('Bash', { command })
    assert.equal(prompt?.isWhole, false, command)
    assert.equal(isShownWhole(prompt?.what ?? ''), false)
    assert.ok((prompt?.what.length ?? 999) <= 300)
  }
})

test('a question, a plan, and an input that did not come whole have no name', () => {
  assert.equal(named('AskUserQuestion', { questions: [] }), null)
  assert.equal(named('ExitPlanMode', { plan: 'x' }), null)
  const input = '{"session_id":"s","hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"ls'
  const event = readHookEvent('claude', null, input)
  assert.ok(event)
  assert.equal(namePrompt(event, input, Buffer.from(NAME, 'hex')), null)
})

test('an answer holds neither the code nor the token, and no reason that would be changed on its way', () => {
  const answer = { prompt: NAME, decision: 'deny', reason: 'not now' } as const
  const text = answerMessage(answer, 'ABCDE-FGHJK')
  assert.ok(!text.includes('ABCDE'))
  assert.deepEqual({ ...readAnswer(text), proof: '' }, { ...answer, proof: '' })
  assert.throws(() => answerMessage({ ...answer, reason: `ghp_${'a1B2'.repeat(9)}` }, 'x'), { code: 'invalid' })
  for (const other of ['', 'allow', text.slice(0, -3), text.replace('deny', 'maybe'), text.replace(NAME, '../../x')])
    assert.equal(readAnswer(other), null)
})

/** The host of a client that shows a prompt, and the hook that waits there. */
class Host implements Disposable {
  readonly #temp = tempState()
  readonly state = this.#temp.state
  readonly clock = new ManualClock()
  readonly inbox = new Inbox(this.state)
  #letters = 0

  async shows(what: string | null, session: { readonly id: string } = SESSION): Promise<void> {
    const activity: ClientActivity = { state: what === null ? 'working' : 'waiting', what, until: null }
    await publishClientSession(this.state, sampleSession({ id: session.id, activity }))
  }

  wait(isWhole = true): { outcome: PromptOutcome | null; readonly done: Promise<PromptOutcome> } {
    const prompt = { name: NAME, what: promptLine(NAME), isWhole }
    const done = awaitAnswer(this.state, SESSION, prompt, this.clock)
    const wait = { outcome: null as PromptOutcome | null, done }
    void done.then((outcome) => {
      wait.outcome = outcome
    })
    return wait
  }

  async allowed(mode: GrantMode = 'answer'): Promise<string> {
    return await openGrant(this.state, { mode, folder: this.state, tokenMs: 300_000 }, this.clock.wall())
  }

  async comes(answer: Partial<PermissionAnswer>, secret: string, more: object = {}): Promise<void> {
    await this.inbox.recover()
    this.#letters += 1
    const text = answerMessage({ prompt: NAME, decision: 'allow', reason: null, ...answer }, secret)
    await this.inbox.put({ ...letter(this.#letters, text), action: ANSWER_ACTION, ...more })
  }

  /** Lets the hook look again and again until something is so: the disk is not bound to the clock. */
  async looks(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    await until(what, async () => {
      await this.clock.advance(500)
      return await isSo()
    })
  }

  acts(): { action: string; details: Record<string, unknown> }[] {
    const path = join(this.state, 'guard', 'log')
    if (!existsSync(path)) return []
    const lines = readFileSync(path, 'utf8').trim().split('\n')
    return lines.map((line) => JSON.parse(line) as { action: string; details: Record<string, unknown> })
  }

  /** Why the answers were refused. */
  refusals(): unknown[] {
    return this.acts().map(({ action, details }) => (action === 'refused' ? details.why : action))
  }

  [Symbol.dispose](): void {
    this.#temp[Symbol.dispose]()
  }
}

function promptLine(name: string): string {
  return `permission prompt ${name}: Bash: touch one`
}

for (const decision of ['allow', 'deny'] as const)
  test(`an answer with the code counts once, and is written down: ${decision}`, async () => {
    using host = new Host()
    await host.shows(promptLine(NAME))
    const wait = host.wait()
    const code = await host.allowed()
    await host.comes({ decision, reason: 'because' }, code.toLowerCase())
    await host.looks('it is answered', () => wait.outcome !== null)
    const { proof: _, ...answer } = (await wait.done) as PermissionAnswer & { proof: string }
    assert.deepEqual(answer, { prompt: NAME, decision, reason: 'because' })
    const [act] = host.acts()
    assert.equal(act?.action, 'answered')
    assert.deepEqual(act?.details, { prompt: NAME, decision, reason: 'because', what: promptLine(NAME) })
    assert.equal(await liveGrant(host.state, host.clock.wall()), null, 'the code is void')
    assert.deepEqual(
      [await host.inbox.list('new'), await host.inbox.list('done')],
      [[], [1]],
      'it is no mail of the agent',
    )
  })

test('a token answers until its time is over, and a token or code of guarded commands answers nothing', async () => {
  using host = new Host()
  const wait = host.wait()
  const forCommands = await host.allowed('open')
  await host.comes({}, forCommands)
  await host.looks('it is refused', () => host.acts().length === 1)
  const { token } = await redeemCode(host.state, await host.allowed(), host.clock.wall())
  await host.comes({}, `${token}x`)
  await host.looks('it is refused', () => host.acts().length === 2)
  assert.deepEqual(host.refusals(), [
    'no answer is allowed there now',
    'the token is not the one that is in force there',
  ])
  await host.comes({}, token)
  await host.looks('it is answered', () => wait.outcome !== null)
  assert.equal((await liveGrant(host.state, host.clock.wall()))?.stage, 'token')
})

test('a wrong code, one that is too late, a changed answer: nothing is answered', async () => {
  using host = new Host()
  const wait = host.wait()
  const code = await host.allowed()
  await host.comes({}, 'AAAAA-AAAAA')
  await host.looks('it is refused', () => host.acts().length === 1)
  await host.comes({}, code)
  await host.looks('the code is void', () => host.acts().length === 2)
  const late = await host.allowed()
  host.clock.step(120_000)
  await host.comes({}, late)
  await host.looks('it is refused', () => host.acts().length === 3)
  const changed = { ...(readAnswer(answerMessage({ prompt: NAME, decision: 'deny', reason: null }, 'x')) as object) }
  const text = `answer to a permission prompt: ${JSON.stringify({ ...changed, decision: 'allow', proof: proofOf(JSON.stringify([NAME, 'deny', null]), await host.allowed()) })}`
  await host.inbox.put({ ...letter(9, text), action: ANSWER_ACTION })
  await host.looks('it is refused', () => host.acts().length === 4)
  assert.match(
    host.refusals().join('; '),
    /^the code is wrong, and void now; no answer .*; no answer .*; the code is wrong/,
  )
  assert.equal(wait.outcome, null)
})

test('an answer to another prompt, to one that is over, or to one that nobody saw whole does nothing', async () => {
  using host = new Host()
  await host.shows(promptLine(NAME))
  const wait = host.wait(false)
  const code = await host.allowed()
  await host.shows(promptLine('ffffffffffff'), { id: 'session-2' })
  await host.comes({ prompt: OTHER }, code)
  await host.comes({ prompt: 'ffffffffffff' }, code)
  await host.comes({}, code)
  await host.looks('two are refused', () => host.acts().length === 2)
  assert.deepEqual(await host.inbox.list('new'), [2], 'the hook of the other session takes its own')
  await host.shows(null)
  await host.clock.advance(500)
  await host.comes({ decision: 'deny' }, code)
  await host.looks('it is refused', () => host.acts().length === 3)
  assert.deepEqual(host.refusals(), [
    'no client here waits for an answer to that prompt',
    'what the tool is given was not shown whole',
    'the prompt was over before the answer came',
  ])
  await host.looks('the hook ends', () => wait.outcome !== null)
  assert.equal(await wait.done, 'over')
  assert.notEqual(await liveGrant(host.state, host.clock.wall()), null, 'what cannot count spends no code')
})

test('mail of others is left alone, whatever it says', async () => {
  using host = new Host()
  const wait = host.wait()
  const code = await host.allowed()
  await host.comes({}, code, { sender: 's2-worker-2' })
  await host.comes({}, code, { from: 'conv_0123456789abcdef/b' })
  await host.comes({}, code, { action: null })
  await host.comes({}, code, { text: 'allow it' })
  await host.clock.advance(5_000)
  assert.deepEqual(await host.inbox.list('new'), [1, 2, 3, 4])
  assert.deepEqual([host.acts(), wait.outcome], [[], null])
})

test('the hook waits for a bounded time, whether or not anybody tells what the client shows', async () => {
  for (const isTold of [true, false]) {
    using host = new Host()
    if (isTold) await host.shows(promptLine(NAME))
    const wait = host.wait()
    host.clock.pause(ANSWER_WAIT_MS - 10_000)
    for (let look = 0; look < 10; look += 1) await host.clock.advance(500)
    assert.equal(wait.outcome, null)
    await host.looks('the hook ends', () => wait.outcome !== null)
    assert.equal(await wait.done, 'unanswered')
  }
})
