/** All texts of the page, in English. `de.ts` has the same keys. */
import type { Fault } from "../limits";

const counted = (count: number, singular: string, plural: string) => `${count} ${count === 1 ? singular : plural}`;
/** A wait in seconds, minutes or hours. */
const wait = (seconds: number) =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

// Texts that several codes share.
const pageFault = "An error occurred on this page. Reload it, then try again.";
const uploadGone = "The upload has expired. Try again: the image is still on this device.";
const sentElsewhere = "Another window is already sending this. Wait until it has finished, or try again.";
const imageGone = "This image was deleted. Remove the entry from the list.";

export const en = {
  title: "Images",
  sort: "Sort",
  top: "Top",
  newest: "New",
  newPost: "New post",
  signIn: "Sign in",
  signOut: "Sign out",
  menu: "Menu",
  cancel: "Cancel",
  close: "Close",
  save: "Save",
  edit: "Edit",
  delete: "Delete",
  remove: "Remove",
  send: "Send",
  post: "Post",
  pause: "Pause",
  resume: "Resume",
  tryAgain: "Try again",
  caption: "Caption",
  alt: "Alt text",
  altHint: "Describe the image for people who cannot see it.",
  imageBy: (name: string) => `Image by ${name}`,
  edited: "edited",

  showMore: "Show more",
  loading: "Loading",
  end: "There are no more images.",
  nothingYet: "There are no images yet. Choose New post to add the first one.",
  feedFailed: "The images could not be loaded. Check your connection, then try again.",

  comments: (count: number) => `Comments (${count})`,
  commentList: "Comments",
  comment: "Comment",
  commentHint: "Say something about this image",
  noComments: "No comments yet.",
  olderComments: "Show older comments",
  commentsFailed: "The comments could not be loaded. Try again when you are online.",
  postGone: "This image was deleted. Close it to return to the other images.",
  previous: "Previous image",
  next: "Next image",
  editComment: "Edit comment",
  deleteComment: "Delete this comment?",
  deletePost: "Delete this image?",
  deletePostHint: "Its comments are deleted with it. This cannot be undone.",
  editPost: "Edit post",

  images: "Images",
  chooseImages: "Choose images, drop them anywhere on the page, or paste them.",
  chooseFiles: "Choose images",
  addImages: "Add images",
  removeImage: (name: string) => `Remove ${name}`,
  noPreview: "This browser cannot show a preview. You can still post the image.",
  smaller: "Smaller (2048 px)",
  smallerSaves: (bytes: number) => `Saves ${megabytes(bytes)} of your data.`,
  smallerNothing: "Scaling does not make this file smaller. The original is sent.",
  smallerFailed: "This browser cannot scale the image. The original is sent.",
  working: "Scaling",
  draftsRefused: "Some images or texts cannot be posted. Remove or change the marked ones, then post.",
  fault: (fault: Fault): string => {
    switch (fault.is) {
      case "empty":
        return "This file is empty. Choose another one.";
      case "unreadable":
        return "The browser can no longer read this file. Choose it again.";
      case "format":
        return "This file is not an image that can be posted. Choose a JPEG, PNG, WebP, GIF, BMP, HEIC or AVIF.";
      case "bytes":
        return `This file is too large. Choose one of at most ${megabytes(fault.max)}.`;
      case "pixels":
        return `This image has too many pixels: at most ${Math.floor(fault.max / 1e6)} megapixels can be posted. Choose “Smaller”, or another image.`;
      case "long":
        return `This text has ${fault.has} characters. Shorten it to ${fault.max}.`;
      case "character":
        return fault.character === "NUL"
          ? "This text contains an invalid character (NUL). Type the text again."
          : "This text contains half a character (a lone surrogate), often the rest of an emoji. Delete it, or type the text again.";
    }
  },
  storageFull: "This device has too little free space to store this until it is sent. Free some space, then try again.",
  fileUnreadable: "The browser can no longer read this file. Choose it again.",
  inMemoryOnly: "This browser refuses to store this. Keep this page open until it is sent.",

  name: "Name",
  nameHint: "This service accepts any name without a password.",
  token: "Token",
  tokenHint: "Ask the operator of this service for a token. The operator creates it by: image-poster token YOUR-NAME.",
  goToIssuer: (host: string) => `Continue at ${host}`,
  signInRefused: "The service did not accept this sign-in. Check the token, or ask for a new one.",
  nameRefused: "This name is not allowed. Use 1 to 128 printable characters.",
  signInUnreachable: "The service cannot be reached. Try again when you are online.",
  signedInAs: (name: string) => `Signed in as ${name}`,
  signOutWaiting: (count: number) =>
    `${counted(count, "entry of yours is", "entries of yours are")} not sent yet. Unsent entries stay on this device and are sent when you sign in again.`,
  signOutQuestion: "Sign out?",

  uploads: "Uploads",
  waitingRegion: "Not sent yet",
  progressOf: (name: string) => `Progress of ${name}`,
  stateWaiting: "Waiting",
  stateWaitingFor: (name: string) => `Waiting until ${name} signs in`,
  stateOffline: "Waiting for a connection",
  stateReserving: "Starting",
  stateUploading: (percent: number) => `Uploading, ${percent} %`,
  stateRetrying: (seconds: number) => `Trying again in ${wait(seconds)}`,
  stateProcessing: "Processing",
  stateRemoving: "Removing",
  statePaused: "Paused",
  stateFailed: (why: string) => `Failed: ${why}`,
  stateOld: "This was first sent over six days ago, or the clock of this device was wrong. It may have arrived. Check the feed, then send it again or remove it.",
  stateConflict: "Somebody changed this before your change arrived. Choose the version to keep.",
  sendAgain: "Send again",
  mine: "Your version",
  theirs: "Current version",
  useMine: "Use mine",
  useTheirs: "Keep theirs",
  waitingComment: (text: string) => `Comment: ${text}`,
  waitingEdit: (text: string) => `Edit: ${text}`,
  waitingDeletion: "Deletion of an image",
  waitingCommentDeletion: "Deletion of a comment",

  offline: "You are offline. This page shows stored images.",
  offlineWaiting: (count: number) => `Offline: ${count} waiting`,
  sending: (count: number) => `Sending: ${count} waiting`,
  signInAgain: (count: number) => `Sign in again to send: ${count} waiting`,
  donePost: "Your image is posted.",
  doneComment: "Your comment is sent.",
  doneEdit: "Your change is saved.",
  doneDeletion: "Deleted.",
  goneMeanwhile: "It was deleted in the meantime. Nothing was changed.",
  sendingFailed: "The service refused an entry. See the list above the images.",

  /** The text for each problem code (docs/problems.md); a test compares the codes. */
  problems: {
    unreadable: "The browser can no longer read this image. Remove it, and choose it again.",
    identity_required: "Your sign-in has expired. Sign in again to continue.",
    not_yours: "This belongs to another user. Remove the entry from the list.",
    admins_only: "Only admins may do this. Ask an admin.",
    direct_access: "This is not the public address of the service. Open the address that its operators gave you.",
    host_not_allowed: "The service accepts only its own host name. Open it as localhost.",
    rate_limited: "You have reached a limit of the service. Wait a little; sending then continues.",
    busy: "The service is busy. Wait a moment; sending then continues.",
    not_ready: "The service is not ready. Wait a moment; sending then continues.",
    internal_error: "An error occurred in the service. Wait a little; if it persists, tell its operators.",
    storage_full: "The service has no free space. Wait a little; if it persists, tell its operators.",
    body_silent: "The connection was silent for too long. Find a better connection; sending then continues.",
    request_in_progress: "The service is still processing this. Wait a moment.",
    image_unreadable: "The image is damaged or incomplete. Choose a complete copy of it, or another image.",
    image_unsupported: "The service cannot show this kind of image. Save it in another format, then post that file.",
    image_too_large: "The image has too many pixels. Post a smaller one.",
    image_too_slow: "The image takes too long to decode. Save it again or smaller, then post that file.",
    processing_failed: "The service could not process this image, and the image is not the cause. Tell its operators, or try again later.",
    unsupported_image: "This file is not an image that can be posted. Choose another one.",
    upload_too_large: "The file is too large. Post a smaller one.",
    body_too_large: "The text is too long. Make it shorter, then send it again.",
    validation_failed: "The service refused this entry. Remove it from the list, then create it again.",
    checksum_mismatch: "The image was damaged on its way. Try again.",
    upload_gone: uploadGone,
    upload_not_found: uploadGone,
    upload_url_invalid: uploadGone,
    upload_taken_over: sentElsewhere,
    offset_mismatch: sentElsewhere,
    post_not_found: imageGone,
    image_not_found: imageGone,
    comment_not_found: "This comment was deleted. Remove the entry from the list.",
    post_not_ready: "The image is not ready yet. Try again in a moment.",
    gone: "The post or comment was deleted before this arrived again. Remove the entry from the list, or create it again.",
    edit_conflict: "Somebody changed this in the meantime. Read the current version, then change it again.",
    idempotency_key_reused: "The service has received another entry in place of this one. Check if yours is in the feed, then try again.",
    page_error: pageFault,
    invalid_json: pageFault,
    invalid_multipart: pageFault,
    invalid_request: pageFault,
    invalid_cursor: pageFault,
    invalid_tus_request: pageFault,
    tus_version_unsupported: pageFault,
    concatenation_unsupported: pageFault,
    route_not_found: pageFault,
    method_not_allowed: pageFault,
    multipart_too_large: pageFault,
    piece_too_large: pageFault,
    unsupported_media_type: pageFault,
    range_not_satisfiable: pageFault,
  },
};

export type Texts = typeof en;
