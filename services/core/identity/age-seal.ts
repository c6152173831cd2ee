import { Decrypter, Encrypter } from 'age-encryption'
import { RECIPIENT } from '#fleet/identity.ts'

/**
 * Seals a text so that only the holder of the recipient's private key can read it: an age file (age-encryption.org/v1) in
 * base64. Throws `TypeError` for what is no recipient.
 */
export async function seal(text: string, recipient: string): Promise<string> {
  if (!RECIPIENT.test(recipient)) throw new TypeError('not an age recipient')
  const encrypter = new Encrypter()
  encrypter.addRecipient(recipient)
  return Buffer.from(await encrypter.encrypt(text)).toString('base64')
}

/** Whether anything can be sealed to this recipient: one may have the form, and a wrong checksum or a point of no use. */
export async function canSealTo(recipient: string): Promise<boolean> {
  return await seal('', recipient).then(
    () => true,
    () => false,
  )
}

/** Opens what was sealed to this key; null for everything else. */
export async function unseal(sealed: string, ageKey: string): Promise<string | null> {
  try {
    const decrypter = new Decrypter()
    decrypter.addIdentity(ageKey)
    return await decrypter.decrypt(Buffer.from(sealed, 'base64'), 'text')
  } catch {
    return null
  }
}
