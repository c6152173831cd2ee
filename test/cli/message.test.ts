/** What a sender sees of its messages, and what becomes of those that nobody acks. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { publishCredential } from '#spool/credentials.ts'
import { Inbox } from '#spool/inbox.ts'
import { Ground, type Seat } from '../bridge/ground.ts'
import { letter } from '../core/spool/sample.ts'
import { type Outcome, run } from './run-command.ts'

const state = mkdtempSync(join(tmpdir(), 's2-message-'))
let ground: Ground
let one: { a: Seat; b: Seat }
let two: { a: Seat; b: Seat }

before(async () => {
  ground = await Ground.open()
  one = await ground.channel('s2-worker-1')
  two = await ground.channel('s2-worker-2')
  await publishCredential(state, {
    ...{ session: one.b.session, agent: 's2-worker-1', role: 'tests', token: one.b.token },
    ...{ bridgeUrl: ground.bridge.url, createdAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
  })
})

after(async () => {
  await ground?.[Symbol.asyncDispose]()
  rmSync(state, { recursive: true })
})

async function worker(...argv: string[]): Promise<Outcome> {
  return await run(argv, { env: { S2_STATE: state } })
}

async function admin(...argv: string[]): Promise<Outcome> {
  return await run(argv, { env: { S2_STATE: join(state, 'none'), S2_STORE: ground.admin } })
}

test('a worker writes to another one and to a role, and sees how far a message has come', async () => {
  const listed = await worker('agent', 'list')
  assert.match(listed.out, /^AGENT +ROLE +VERDICT\norchestrator +orchestrator +-\ns2-worker-1 +tests +-\ns2-worker-2 /)
  const sent = await worker('send', 's2-worker-2', 'is the schema done?', '--json')
  const { id, state: how, to } = JSON.parse(sent.out)
  assert.deepEqual([how, to], ['queued', 's2-worker-2'])
  const [message] = await ground.store.unacked(two.b.session, 0, 10)
  assert.deepEqual([message?.id, message?.sender], [id, 's2-worker-1'])
  assert.match(
    (await worker('send', '--role', 'tests', 'the build is red')).out,
    /^queued: message \d+ to the role tests /,
  )
  assert.match((await worker('send', '--role', 'nothing', 'x')).err, /there is no other agent of the role "nothing"/)
  assert.match((await worker('send', 's2-worker-9', 'x')).err, /nothing was sent: no agent or session here is called/)

  await ground.store.leaseMessages(two.b.session, 'claude:\u001b[2Jone', 1, 60_000)
  const shown = await worker('message', 'show', `${id}`)
  assert.match(shown.out, /^from +s2-worker-1 \(conv_\w+\/b\)$/m)
  assert.match(shown.out, /^state +leased$/m)
  assert.match(shown.out, /^leased +\S+ \(\S+ ago\), handed out once by claude: ?\[2Jone$/m)
  assert.match(shown.out, /^acked +-$/m)
  await ground.store.mark(two.b.session, [id], 'acked')
  assert.equal(JSON.parse((await worker('message', 'show', `${id}`, '--json')).out).delivery, 'acked')
  const other = await ground.store.send(two.a.session, 'k', { text: 'not yours' })
  assert.match(
    (await worker('message', 'show', `${other.id}`)).err,
    /there is no message \d+, or it is not yours to see/,
  )
})

test('dead letters are listed, sent again and dropped by who leads', async () => {
  const send = async (key: string) => (await ground.store.send(one.a.session, key, { text: key })).id
  const [first, second] = [await send('first'), await send('second')]
  await ground.store.giveUpMessages(one.b.session, [first, second], 'nobody is there')
  const dead = await admin('message', 'dead')
  assert.match(dead.out, new RegExp(`^${first} +orchestrator +s2-worker-1 +\\S+ +nobody is there$`, 'm'))
  assert.match((await worker('message', 'drop', `${first}`)).err, /only the orchestrator's session/)
  const retried = await admin('message', 'retry', `${first}`)
  assert.match(retried.out, new RegExp(`^message ${first} was sent again to s2-worker-1 as message \\d+\\n$`))
  assert.equal((await admin('message', 'drop', `${second}`)).out, `dropped: ${second}\n`)
  assert.match((await admin('message', 'show', `${second}`)).out, /^state +dead letter, dropped$/m)
  assert.equal((await admin('message', 'dead')).out, 'there are no dead letters\n')
  assert.match((await admin('message', 'retry', `${second}`)).err, new RegExp(`message ${second} was dropped`))
})

test('a check with --ack acks what it prints, and only what could be printed', async () => {
  const inbox = new Inbox(state)
  await inbox.putAll([letter(1, 'one'), letter(2, 'two')])
  const unheard = await run(['check', '--limit', '1', '--ack'], { env: { S2_STATE: state }, flush: async () => false })
  assert.match(unheard.err, /could not be written out, and is not acked/)
  assert.deepEqual([await inbox.list('cur'), await inbox.list('done')], [[1], []])
  const heard = await worker('check', '--ack')
  assert.match(heard.out, /two/)
  assert.deepEqual([await inbox.list('new'), await inbox.list('cur'), await inbox.list('done')], [[], [], [1, 2]])
  await inbox.put({ ...letter(3, 'three'), to: one.b.session, sender: 's2-worker-2' })
  assert.match((await worker('check')).out, /^── 3 · s2-worker-2 → s2-worker-1 · /)
  await inbox.put({ ...letter(4, 'four'), from: one.a.session, to: one.b.session })
  assert.match((await worker('check')).out, /^── 4 · orchestrator → s2-worker-1 · /)
})
