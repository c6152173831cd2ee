/** Calls of tools, whichever member they go to. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { callTool } from '#mcp/tools.ts'
import type { Member } from '#member/member.ts'

/** A member that takes a message, and whose own folders may be spoilt. */
function memberWith(noteCall: Member['noteCall']): () => Promise<Member> {
  const sendToPartner = async () => ({ state: 'carried', from: 'conv_1/b', to: 'conv_1/a', id: null, why: null })
  return async () => ({ sendToPartner, noteCall }) as unknown as Member
}

test('what an agent must hear comes with the answer of its call', async () => {
  const { text } = await callTool(
    memberWith(async () => ['stop']),
    'send_to_partner',
    { message: 'hi' },
  )
  assert.deepEqual(JSON.parse(text).notices, ['stop'])
})

test('a call that was done is told as done, though notices cannot be read', async () => {
  const spoilt = memberWith(async () => Promise.reject(new Error('held/ is no folder')))
  const { text, isError } = await callTool(spoilt, 'send_to_partner', { message: 'hi' })
  assert.deepEqual([isError, JSON.parse(text).state], [false, 'carried'])
})
