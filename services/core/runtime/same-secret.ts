import { createHash, timingSafeEqual } from 'node:crypto'

/** Compares a secret that somebody shows with the one that is right, without telling by its time how much of it is. */
export function isSameSecret(shown: string, right: string): boolean {
  return timingSafeEqual(digestOf(shown), digestOf(right))
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
